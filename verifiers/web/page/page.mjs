// The page: takes what its reader trusts and a file, shows what was found.
// What a file says is only ever set as text.
import { Refused, compile, judge, unhex } from './verifier.mjs';

// Events listed at a time.
const LISTED = 100;

const $ = (id) => document.getElementById(id);
const form = $('form');
const module = compile($('wasm').textContent);

// Characters that show nothing, or turn the direction of what follows.
const UNSEEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g;

// Text of a stranger, with what would be unseen made visible.
function plain(text) {
  return text.replace(UNSEEN, (c) => `⟨U+${c.charCodeAt(0).toString(16).toUpperCase().padStart(4, '0')}⟩`);
}

// An element with attributes and content: text, elements, or lists of them.
function make(name, attributes, ...content) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes ?? {})) element.setAttribute(key, value);
  element.append(...content.flat().filter((item) => item !== null && item !== undefined && item !== ''));
  return element;
}

const hash = (text) => make('span', { class: 'hash' }, text);
const list = (items) => (items.length > 1 ? make('ul', {}, items.map((item) => make('li', {}, item))) : items);

const format = new Intl.NumberFormat('en');
function count(n, one, many = `${one}s`) {
  return `${format.format(n)} ${n === 1 ? one : many}`;
}

// ---- What is trusted

// The fingerprints that a text holds, however it groups their digits; null
// where it holds something else.
function fingerprints(text) {
  const digits = text.toLowerCase().replace(/[\s:;,.-]/g, '');
  if (digits.length % 64 !== 0 || !/^[0-9a-f]*$/.test(digits)) return null;
  return (digits.match(/.{64}/g) ?? []);
}

function complain(input, message) {
  $(`${input.id}-error`).textContent = message;
  if (message) input.setAttribute('aria-invalid', 'true');
  else input.removeAttribute('aria-invalid');
}

async function bytes(file) {
  return new Uint8Array(await file.arrayBuffer());
}

// What the form says, or null after complaining about it.
async function asked() {
  const named = fingerprints(form.fingerprint.value);
  const [file] = form.bundle.files;
  complain(form.fingerprint, named ? '' : 'A fingerprint has 64 digits and letters a to f. This is something else, or a part of one.');
  complain(form.bundle, file ? '' : 'Choose the file to check.');
  complain(form.policy, '');
  complain(form.kept, '');
  if (!named || !file) {
    (named ? form.bundle : form.fingerprint).focus();
    return null;
  }
  const [policy] = form.policy.files;
  return {
    file,
    named,
    policyName: policy?.name,
    fingerprints: named.map(unhex),
    policy: policy && (await bytes(policy)),
    kept: await Promise.all([...form.kept.files].map(bytes)),
    keptNames: [...form.kept.files].map((kept) => kept.name),
    count: LISTED,
  };
}

// ---- The verdict in one sentence

function sentence(report, trust) {
  const parts = report.logs.some((log) => log.scope === 'part');
  const gaps = report.logs.some((log) => !log.chain_complete);
  const only = (code) => report.verdict === 'altered' && report.problems.every((problem) => problem.code === code);
  if (only('log.rolled_back')) return 'This is an older state than the one that you kept a checkpoint of: ask for what came after.';
  if (only('log.forked')) return 'This is another history than the one that you kept a checkpoint of: keep both, and ask which is true.';
  if (report.verdict === 'altered') return 'This is not what was signed: keep the file as it is, and ask for another copy.';
  if (report.verdict === 'intact') {
    if (gaps) return 'Every event here is as it was signed with the key you trust, but others that stood between them were left out.';
    if (parts) return 'Every event here is as it was signed with the key you trust, and stands in the log where this file says.';
    return 'Every event is as it was signed with the key you trust: none was changed, put in, left out or moved, up to the last one here.';
  }
  if (!trust.named.length && !trust.policy) return 'Nothing is wrong in itself, but you named no fingerprint, so nobody vouches for it.';
  if (report.logs.some((log) => log.quorum === false)) return 'Nothing is wrong in itself, but the witnesses that your policy asks for have not signed it.';
  if (report.logs.some((log) => log.unattributed > 0)) return 'Nothing is wrong in itself, but this file does not hold what shows who signed some of the events.';
  return 'Nothing is wrong in itself, but it was signed with another key than you named, so nobody whom you trust vouches for it.';
}

// ---- The report in plain words

// A row of facts; where nothing is to be said there is none.
function fact(name, ...content) {
  const said = content.flat().filter((item) => item !== null && item !== undefined && item !== '');
  return said.length ? make('tr', { role: 'row' }, make('th', { scope: 'row', role: 'rowheader' }, name), make('td', { role: 'cell' }, list(said))) : null;
}

function facts(...rows) {
  return make('table', { class: 'facts', role: 'table' }, make('tbody', { role: 'rowgroup' }, rows));
}

function ofFile(answer, trust) {
  const key = (fingerprint) => make('span', {}, 'the key ', hash(fingerprint));
  return [
    make('h3', {}, 'The file'),
    facts(
      fact('Name', plain(trust.file.name)),
      fact('Length', count(answer.file.bytes, 'byte')),
      fact('SHA-256', hash(answer.file.sha256)),
      fact('Judged', `${new Date().toISOString().replace('T', ' ').slice(0, 19)} UTC, by this machine’s clock`),
      fact('Trusted', trust.named.map(key), trust.policyName ? `what the policy ${plain(trust.policyName)} names` : null, trust.named.length || trust.policyName ? null : 'nobody: no fingerprint was given'),
      fact('Held against', trust.keptNames.map((name) => `the checkpoint ${plain(name)}`)),
    ),
  ];
}

function contents({ present, disclosed, withheld, erased, missing }) {
  return [
    `${format.format(present)} here, as they were signed; ${disclosed ? `the secrets of ${format.format(disclosed)} were disclosed to you` : 'no secret was disclosed to you'}`,
    withheld ? `${format.format(withheld)} withheld: only their lengths are here` : null,
    erased ? `${format.format(erased)} erased: an event in the history says so` : null,
    missing ? `${format.format(missing)} missing, and nothing says why` : null,
  ];
}

function freshness(said) {
  const [word, behind] = said.split(' ');
  return {
    current: 'Nothing that you kept is newer.',
    behind: `A checkpoint that you kept is newer: ${count(Number(behind), 'event')} of it ${behind === '1' ? 'is' : 'are'} not here.`,
    forked: 'A checkpoint that you kept is of another history than this one.',
  }[word] ?? 'Not known: whether newer events exist is seen only by a checkpoint that you kept.';
}

function bound(bounds, words) {
  return bounds.map(({ leaf, time }) => words(format.format(leaf), time.replace('T', ' ').replace(/\.000Z$/, ' UTC')));
}

function ofLog(log, trust) {
  const whole = log.scope === 'whole';
  const times = [
    ...bound(log.times.not_before, (leaf, time) => `Events from number ${leaf} on are not older than ${time}.`),
    ...bound(log.times.not_after, (leaf, time) => `Events below number ${leaf} are not younger than ${time}.`),
  ];
  const named = log.log_key && trust.named.includes(log.log_key);
  const whose = named ? ', which you named.' : log.verdict === 'intact' ? ', which what you trust vouches for.' : ', which is not one that you named. Compare it with what the owner told you by another way.';
  const missing = ({ actor, from, to }) => make('span', {}, from === to ? `event ${from}` : `events ${from} to ${to}`, ' in the chain of ', hash(actor));
  const disputed = ({ actor, first_leaf, last_leaf, count: n, by }) => make('span', {}, `${count(n, 'event')} from number ${first_leaf} to ${last_leaf}, of `, hash(actor), `: event ${by} says that they may be somebody else’s.`);
  return [
    make('h3', {}, whole ? 'A log, the whole of it' : 'A part of a log'),
    facts(
      fact('Answer', log.verdict),
      fact('Log', hash(log.log)),
      fact('Its maker calls it', log.label ? `“${plain(log.label)}”, which is evidence of nothing` : null),
      fact('Events', whole ? count(log.events, 'event') : `${format.format(log.events)} here, of ${format.format(log.size)} that were signed`),
      fact('Identities', count(log.identities, 'identity', 'identities')),
      fact('Contents', contents(log.bodies)),
      fact('Signed with', log.log_key ? make('span', {}, 'the key ', hash(log.log_key), whose) : 'no key that could be read'),
      fact('Root', hash(log.head)),
      fact('Unsigned', log.unsigned ? `${count(log.unsigned, 'event')} that no signature of the writer covers yet` : 'No event: all are signed by their writers.'),
      fact('Signer not here', log.unattributed ? `${count(log.unattributed, 'event')} that were asked for` : null),
      fact('Left out', whole ? null : log.missing_links.length ? log.missing_links.map(missing) : 'Nothing between the events that were asked for.'),
      fact('Disputed', log.disputed.map(disputed)),
      fact('Newer events', freshness(log.freshness)),
      fact('Witnesses', log.quorum === null ? null : log.quorum ? 'As many as your policy asks for have signed it.' : 'Not as many as your policy asks for have signed it.',
        log.quorum === false && log.witnessed ? `Its first ${count(log.witnessed, 'event')} they have signed: what comes after is not witnessed.` : null),
      fact('Goes on from', log.adopted ? make('span', {}, 'log ', hash(log.adopted)) : null),
      fact('Times', times.length ? times : 'No proof of time: they are what the agent’s machine claimed.'),
    ),
  ];
}

function table(heads, rows) {
  const row = (cells) => make('tr', { role: 'row' }, cells.map((cell, i) => make('td', { role: 'cell', 'data-of': heads[i] }, cell)));
  return make('table', { role: 'table' },
    make('thead', { role: 'rowgroup' }, make('tr', { role: 'row' }, heads.map((head) => make('th', { scope: 'col', role: 'columnheader' }, head)))),
    make('tbody', { role: 'rowgroup' }, rows.map(row)));
}

function findings({ problems, unlisted }) {
  if (!problems.length) return [];
  return [
    make('h3', {}, 'What was found'),
    make('p', {}, 'Look at the one with the lowest number first: others may only follow from it.'),
    table(['Finding', 'Where', 'What'], problems.map((p) => [make('code', {}, p.code), plain(p.where), plain(p.message)])),
    unlisted ? make('p', { class: 'note' }, `And ${format.format(unlisted)} more.`) : null,
  ];
}

// ---- Events

function said(event) {
  const note = (text) => make('span', { class: 'note' }, text);
  const unshown = {
    too_long: 'Disclosed, but too long to be shown here.',
    'xchacha20-poly1305': 'Disclosed, but sealed with XChaCha20-Poly1305, which a browser does not have: it cannot be shown here.',
    'aes-256-gcm': 'Disclosed, but this browser opens nothing on a page like this: it cannot be shown here.',
    not_opened: 'Disclosed, but it does not open: it was sealed as something else.',
  }[event.unshown];
  if (unshown) return note(unshown);
  if (event.body === 'readable') {
    if (event.payload !== undefined) return make('pre', {}, plain(event.payload));
    return note(event.payload_bytes !== undefined ? `Disclosed; ${count(event.payload_bytes, 'byte')} that stand in events of their own.` : 'Disclosed; it has no text.');
  }
  return note({ locked: 'Not disclosed to you.', erased: 'Not here any more.', clear: 'Public, for the machine.' }[event.body] ?? 'None.');
}

function when(event, times) {
  const short = (time) => time.replace('T', ' ').replace(/Z$/, '');
  const before = times.not_before.filter(({ leaf }) => leaf <= event.leaf).map(({ time }) => time).sort().pop();
  const [after] = times.not_after.filter(({ leaf }) => leaf > event.leaf).map(({ time }) => time).sort();
  const proven = [before ? `not before ${short(before)}` : '', after ? `not after ${short(after)}` : ''].filter(Boolean).join(', ');
  return [
    make('time', { datetime: event.time, class: 'number' }, short(event.time)),
    make('span', { class: 'note' }, proven ? `proven: ${proven}` : 'no proof of time'),
    event.occurred_at ? make('span', { class: 'note' }, `says it happened ${short(event.occurred_at)}`) : null,
  ];
}

function events(answer, trust) {
  const { asked: total, events: shown, report } = answer;
  if (!total) return [];
  const from = trust.from ?? 0;
  const rows = shown.map((event) => [
    make('span', { class: 'number' }, format.format(event.leaf)),
    when(event, report.logs[event.section]?.times ?? { not_before: [], not_after: [] }),
    [make('span', {}, plain(event.event_type ?? event.kind)), make('span', { class: 'note hash' }, plain(event.actor)), event.record ? make('span', { class: 'note hash' }, plain(event.record)) : null],
    said(event),
  ]);
  const last = from + shown.length;
  const go = (text, to, able) => {
    const button = make('button', { type: 'button', class: 'quiet' }, text);
    button.disabled = !able;
    button.addEventListener('click', () => run({ ...trust, from: Math.max(0, to) }, 'events'));
    return button;
  };
  return [
    make('h3', { id: 'events', tabindex: '-1' }, 'The events'),
    report.verdict === 'altered' ? make('p', { class: 'error' }, 'Something here was altered: do not rely on what these events say.') : null,
    make('div', { class: 'window' },
      make('p', {}, `${format.format(from + 1)} to ${format.format(last)} of ${count(total, 'event')}`),
      total > LISTED ? [go('Earlier', from - LISTED, from > 0), go('Later', last, last < total), go('Last', total - LISTED, last < total)] : null),
    table(['Number', 'Time claimed', 'What and whose', 'Content'], rows),
  ];
}

// ---- The examination

const WORDS = { intact: '✓ Intact', altered: '✕ Altered', unproven: '? Unproven' };

function show(verdict, title, text, ...content) {
  const answer = $('answer');
  answer.className = verdict;
  $('verdict').textContent = title;
  $('sentence').textContent = text;
  $('report').replaceChildren(...content.flat(Infinity).filter(Boolean));
  answer.hidden = false;
}

function refuse(trust, error) {
  if (!(error instanceof Refused)) {
    show('', 'Not judged', 'The file could not be read to its end, or the verifier failed: nothing can be said about it.', make('p', {}, plain(String(error))));
  } else if (error.message.startsWith('policy')) {
    complain(form.policy, `This is no policy: ${plain(error.message)}.`);
    form.policy.closest('details').open = true;
    form.policy.focus();
  } else if (error.message.startsWith('bundle:')) {
    show('', 'Not judged', 'This file is no mirrordna bundle.', make('p', {}, plain(`${trust.file.name}: ${error.message}`)));
  } else {
    complain(form.kept, `Something that you kept is no checkpoint: ${plain(error.message)}.`);
    form.kept.closest('details').open = true;
    form.kept.focus();
  }
}

// Counts what was begun: an older one gives up as soon as a newer one began.
let begun = 0;

async function run(trust, focus = 'verdict') {
  const own = (begun += 1);
  const bar = $('progress');
  let quarter = 0;
  const progress = (read) => {
    const part = trust.file.size ? read / trust.file.size : 1;
    bar.value = part;
    if (Math.floor(part * 4) > quarter) {
      quarter = Math.floor(part * 4);
      $('status').textContent = quarter < 4 ? `${quarter * 25} percent read` : '';
    }
    return own === begun;
  };
  $('running').hidden = false;
  bar.value = 0;
  try {
    const answer = await judge(await module, { ...trust, progress });
    if (!answer || own !== begun) return;
    const { report } = answer;
    const text = sentence(report, trust);
    show(report.verdict, WORDS[report.verdict], text, ofFile(answer, trust), report.logs.map((log) => ofLog(log, trust)), findings(report), events(answer, trust));
    $('status').textContent = `${report.verdict}: ${text}`;
    document.title = `${report.verdict}: ${plain(trust.file.name)}`;
    $(focus)?.focus();
    $(focus)?.scrollIntoView({ block: 'start' });
  } catch (error) {
    if (own !== begun) return;
    refuse(trust, error);
    $('status').textContent = $('answer').hidden ? '' : $('sentence').textContent;
  } finally {
    if (own === begun) $('running').hidden = true;
  }
}

// What is shown was found with what stood in the form then.
function forget() {
  begun += 1;
  $('running').hidden = true;
  $('answer').hidden = true;
  document.title = 'Check a history';
}

form.addEventListener('input', forget);
form.addEventListener('submit', async (event) => {
  event.preventDefault();
  forget();
  const trust = await asked();
  if (trust) await run(trust);
});

$('print').addEventListener('click', () => window.print());

// A file that is dropped anywhere is the one to judge: a browser left to itself
// would leave the page and open it.
const { documentElement: root } = document;
root.addEventListener('dragover', (event) => {
  event.preventDefault();
  root.classList.add('over');
});
root.addEventListener('dragleave', (event) => {
  if (!event.relatedTarget) root.classList.remove('over');
});
root.addEventListener('drop', (event) => {
  event.preventDefault();
  root.classList.remove('over');
  const { files } = event.dataTransfer;
  if (files.length !== 1) return complain(form.bundle, 'Drop one file: the bundle.');
  form.bundle.files = files;
  complain(form.bundle, '');
  return forget();
});
