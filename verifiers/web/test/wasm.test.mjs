// The module under Node: it imports nothing, and says what the command line
// says, of good and of altered bundles.
import assert from 'node:assert/strict';
import { openAsBlob, readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { Refused, compile, judge, unhex } from '../page/verifier.mjs';
import { ALTERED, Bundles, GOOD } from './bundles.mjs';

const page = readFileSync(process.env.VERIFY_HTML ?? new URL('../../../crates/mirrordna-cli/kit/verify.html', import.meta.url), 'utf8');
const [, base64] = /<script id="wasm"[^>]*>([^<]+)</.exec(page);

let bundles;
let module;
before(async () => {
  bundles = new Bundles();
  module = await compile(base64);
});
after(() => bundles?.remove());

// What the module says, in the form of `mirrordna verify --json --events`.
async function own(name, trust = {}) {
  const answer = await judge(module, { file: await openAsBlob(bundles.at(name)), count: 1_000_000, ...trust });
  const events = answer.events.map(({ section, unshown, ...event }) => event);
  return { ...answer.report, events };
}

test('it imports nothing', () => {
  assert.deepEqual(WebAssembly.Module.imports(module), []);
  const names = WebAssembly.Module.exports(module).filter(({ kind }) => kind === 'function').map(({ name }) => name);
  assert.deepEqual(names.sort(), ['alloc', 'begin', 'body', 'feed', 'fingerprint', 'finish', 'keep', 'policy', 'result', 'result_len', 'window']);
});

test('it has no more than 200 kB', () => {
  const length = Buffer.from(base64, 'base64').length;
  console.log(`the module has ${length} bytes, the page ${page.length}`);
  assert.ok(length <= 200_000, `${length} bytes`);
});

for (const [names, verdict] of [[GOOD, 'intact'], [ALTERED, 'altered']]) {
  for (const name of names) {
    test(`${name} is ${verdict}, as the command line says`, async () => {
      const trusted = await own(name, { fingerprints: [unhex(bundles.fingerprint)] });
      assert.deepEqual(trusted, bundles.verify(name, '--key', bundles.fingerprint));
      assert.equal(trusted.verdict, verdict);
      const untrusted = await own(name);
      assert.deepEqual(untrusted, bundles.verify(name));
      assert.equal(untrusted.verdict, verdict === 'intact' ? 'unproven' : 'altered');
    });
  }
}

test('kept checkpoints are held against it, as by the command line', async () => {
  for (const [name, kept, freshness] of [
    ['open/history.mdna-bundle', 'early.checkpoint', 'current'],
    ['open/history.mdna-bundle', 'late.checkpoint', 'current'],
    ['early/history.mdna-bundle', 'late.checkpoint', 'behind'],
    ['part.mdna-proof', 'early.checkpoint', 'unproven'],
  ]) {
    const said = await own(name, { kept: [readFileSync(bundles.at(kept))] });
    assert.deepEqual(said, bundles.verify(name, '--kept', bundles.at(kept)));
    assert.equal(said.logs[0].freshness.split(' ')[0], freshness, name);
  }
});

test('a policy is believed', async () => {
  const said = await own('open/history.mdna-bundle', { policy: Buffer.from(`# ours\n${bundles.fingerprint}\n`) });
  assert.equal(said.verdict, 'intact');
});

test('a quorum of witnesses is asked for, as by the command line', async () => {
  const policy = readFileSync(bundles.at('quorum.policy'));
  for (const [name, kept, verdict, quorum] of [
    ['two', [], 'intact', true],
    ['one', [], 'unproven', false],
    ['one', ['other'], 'intact', true],
    ['one', ['one'], 'unproven', false],
  ]) {
    const notes = kept.map((note) => bundles.at(`${note}.checkpoint`));
    const said = await own(`${name}.mdna-proof`, { policy, kept: notes.map((note) => readFileSync(note)) });
    assert.deepEqual(said, bundles.verify(`${name}.mdna-proof`, '--policy', bundles.at('quorum.policy'), ...notes.flatMap((note) => ['--kept', note])));
    assert.deepEqual([said.verdict, said.logs[0].quorum, said.logs[0].witnessed], [verdict, quorum, quorum ? said.logs[0].size : 0]);
  }
});

test('what is no bundle, policy or checkpoint is refused with a sentence', async () => {
  const bytes = Buffer.from('nonsense\n');
  await assert.rejects(own('none.mdna-bundle'), (e) => e instanceof Refused && e.message === "bundle: does not begin with the line 'mirrordna bundle v1'");
  await assert.rejects(own('open/history.mdna-bundle', { policy: bytes }), /^Error: policy line 1: is neither/);
  await assert.rejects(own('open/history.mdna-bundle', { kept: [bytes] }), /^Error: signed note: /);
  await assert.rejects(own('open/history.mdna-bundle', { fingerprints: [bytes] }), /32 bytes/);
});

test('a window lists the events that it is over, and counts all', async () => {
  const file = await openAsBlob(bundles.at('open/history.mdna-bundle'));
  const all = await judge(module, { file, count: 1_000_000 });
  const some = await judge(module, { file, from: 2, count: 3 });
  assert.equal(some.asked, all.events.length);
  assert.deepEqual(some.events, all.events.slice(2, 5));
});

test('a judgement that is given up says nothing', async () => {
  const file = await openAsBlob(bundles.at('open/history.mdna-bundle'));
  assert.equal(await judge(module, { file, progress: () => false }), null);
});

test('the digest of the file is its SHA-256', async () => {
  const file = await openAsBlob(bundles.at('open/history.mdna-bundle'));
  const { createHash } = await import('node:crypto');
  const bytes = readFileSync(bundles.at('open/history.mdna-bundle'));
  assert.deepEqual((await judge(module, { file })).file, { bytes: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') });
});
