// Bundles as the command line makes them, good and altered, in a folder of
// their own, and what its own verifier says of each.
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

const program = resolve(process.env.MIRRORDNA_BIN ?? new URL('../../../target/debug/mirrordna', import.meta.url).pathname);

// What a message in the store says: content that a page must neither run nor
// be led astray by.
export const HOSTILE = '{"note":"<img src=http://127.0.0.1:9/x onerror=alert(1)>\u202e reversed"}';

export class Bundles {
  constructor() {
    this.folder = mkdtempSync(join(tmpdir(), 'mirrordna-web-'));
    this.env = { HOME: join(this.folder, 'home'), PATH: process.env.PATH, MIRRORDNA_STORE: this.at('mirrordna.db') };
    this.run('identity', 'create', 'agent', '--name', 'Ada');
    const append = (type, payload) => this.run('timeline', 'append', type, payload, '--identity', 'Ada');
    append('booking.requested', '{"to":"Lyon"}');
    this.run('export', '--audit', this.at('early'));
    append('booking.confirmed', '{"seat":"12A"}');
    append('note.taken', HOSTILE);
    append('booking.paid', '{"amount":80}');
    this.run('export', '--audit', this.at('open'), '--disclose');
    this.run('export', '--audit', this.at('sealed'));
    this.run('export', '--audit', this.at('withheld'), '--withhold');
    const named = this.events().filter((event) => event.event_type);
    const numbers = [named[0], named[2]].map((event) => String(event.leaf));
    const prove = (name, ...how) => this.run('prove', ...numbers, '--label', 'a <b>booking</b>', '--out', this.at(name), ...how);
    prove('part.mdna-proof', '--disclose');
    prove('linked.mdna-proof', '--disclose', '--linked');
    this.keep('early/history.mdna-bundle', 'early.checkpoint');
    this.keep('open/history.mdna-bundle', 'late.checkpoint');
    writeFileSync(this.at('bad.policy'), 'nonsense\n');
    this.fingerprint = this.verify('open/history.mdna-bundle').logs[0].log_key;
    this.alter();
    this.witness();
    // A longer history, of another database.
    const turns = Array.from({ length: 120 }, (_, i) => JSON.stringify({ id: `t${i}`, session: 's', speaker: 'Nora', role: 'user', text: `turn ${i}` }));
    writeFileSync(this.at('chat.jsonl'), `${turns.join('\n')}\n`);
    this.run('--store', this.at('long.db'), 'import', this.at('chat.jsonl'));
    this.run('--store', this.at('long.db'), 'export', '--audit', this.at('long'), '--disclose');
  }

  at(name) {
    return join(this.folder, name);
  }

  run(...args) {
    return execFileSync(program, args, { env: this.env, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  }

  events() {
    return this.run('timeline', 'list', '--limit', '1000', '--json').trim().split('\n').map((line) => JSON.parse(line));
  }

  // The answer of `mirrordna verify --json --events`.
  verify(name, ...trust) {
    const { stdout, stderr } = spawnSync(program, ['verify', this.at(name), '--json', '--events', ...trust], { env: this.env, encoding: 'utf8', maxBuffer: 1 << 28 });
    if (!stdout) throw new Error(`verify ${name}: ${stderr}`);
    return JSON.parse(stdout);
  }

  // Keeps the checkpoint of a bundle's section.
  keep(bundle, name) {
    const [note] = /local\.invalid\/log\/.{32}\n\d+\n.{44}\n\n(— .+\n)+/.exec(readFileSync(this.at(bundle)).toString());
    writeFileSync(this.at(name), note);
  }

  // Three witnesses, a policy that asks for two of them, and proofs under one
  // checkpoint with the lines of one and of two.
  witness() {
    const key = this.run('checkpoint', '--vkey').trim();
    const names = ['w1', 'w2', 'w3'];
    const witnesses = names.map((name) => {
      const own = this.run('witness', 'init', this.at(name), '--name', `witness.example/${name}`).trim();
      this.run('witness', 'trust', this.at(name), key);
      return `witness ${name} ${own}\n`;
    });
    writeFileSync(this.at('quorum.policy'), `log ${key}\n${witnesses.join('')}group two 2 ${names.join(' ')}\nquorum two\n`);
    writeFileSync(this.at('of.checkpoint'), this.run('checkpoint'));
    for (const [name, by] of [['one', ['w1']], ['two', ['w1', 'w2']], ['other', ['w3']]]) {
      const asked = by.flatMap((witness) => ['--witness', this.at(witness)]);
      writeFileSync(this.at(`${name}.checkpoint`), this.run('checkpoint', '--of', this.at('of.checkpoint'), '--policy', this.at('quorum.policy'), ...asked));
      this.run('prove', '0', '4', '--checkpoint', this.at(`${name}.checkpoint`), '--out', this.at(`${name}.mdna-proof`));
    }
  }

  // Bundles that somebody changed, in several ways.
  alter() {
    const whole = readFileSync(this.at('open/history.mdna-bundle'));
    const part = readFileSync(this.at('part.mdna-proof'));
    const write = (name, bytes) => writeFileSync(this.at(name), bytes);
    const flipped = (bytes, at) => {
      const copy = Buffer.from(bytes);
      copy[at] ^= 1;
      return copy;
    };
    // A frame begins with its length: the one of an event in the middle goes.
    const frames = [];
    for (let at = 20; at < whole.length; at += 4 + whole.readUInt32BE(at)) frames.push([at, 4 + whole.readUInt32BE(at)]);
    const [from, length] = frames[frames.length >> 1];
    write('flipped.mdna-bundle', flipped(whole, frames[frames.length - 3][0] + 120));
    write('dropped.mdna-bundle', Buffer.concat([whole.subarray(0, from), whole.subarray(from + length)]));
    write('truncated.mdna-bundle', whole.subarray(0, whole.length - 7));
    write('longer.mdna-bundle', Buffer.concat([whole, Buffer.from('x')]));
    write('part-flipped.mdna-proof', flipped(part, part.length >> 1));
    write('none.mdna-bundle', 'something else entirely');
  }

  remove() {
    rmSync(this.folder, { recursive: true });
  }
}

export const GOOD = ['open/history.mdna-bundle', 'sealed/history.mdna-bundle', 'withheld/history.mdna-bundle', 'part.mdna-proof', 'linked.mdna-proof'];
export const ALTERED = ['flipped.mdna-bundle', 'dropped.mdna-bundle', 'truncated.mdna-bundle', 'longer.mdna-bundle', 'part-flipped.mdna-proof'];
