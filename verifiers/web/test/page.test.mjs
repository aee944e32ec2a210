// The page in a browser, opened from a file: what it says, in which colour, and
// that it asks the network for nothing. PICTURES names a folder for pictures.
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { ALTERED, Bundles, GOOD, HOSTILE } from './bundles.mjs';
import { Chromium } from './chromium.mjs';

const html = process.env.VERIFY_HTML ?? new URL('../../../crates/mirrordna-cli/kit/verify.html', import.meta.url).pathname;
const url = pathToFileURL(html).href;
const COLOURS = { intact: 'rgb(11, 107, 58)', altered: 'rgb(163, 22, 31)', unproven: 'rgb(242, 177, 52)' };

let bundles;
let browser;
let server;
let knocks = 0;
before(async () => {
  bundles = new Bundles();
  browser = new Chromium(process.env.CHROMIUM ?? '/usr/bin/chromium');
  server = createServer((_, response) => {
    knocks += 1;
    response.end();
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
});
after(async () => {
  await browser?.close();
  server?.close();
  bundles?.remove();
});

async function opened({ dark = false, width = 1000, height = 900 } = {}) {
  const page = await browser.open(url);
  await page.send('Emulation.setDeviceMetricsOverride', { width, height, deviceScaleFactor: 1, mobile: false });
  await page.send('Emulation.setScrollbarsHidden', { hidden: true });
  await page.send('Emulation.setEmulatedMedia', { features: [{ name: 'prefers-color-scheme', value: dark ? 'dark' : 'light' }] });
  return page;
}

async function check(page, { fingerprint, file, policy, kept = [] }) {
  if (fingerprint !== undefined) await page.value(`document.getElementById('fingerprint').value = ${JSON.stringify(fingerprint)}`);
  if (file) await page.give('#bundle', bundles.at(file));
  if (policy) await page.give('#policy', bundles.at(policy));
  if (kept.length) await page.give('#kept', ...kept.map((name) => bundles.at(name)));
  await page.value(`document.getElementById('form').requestSubmit()`);
}

const ANSWERED = `!document.getElementById('answer').hidden && document.getElementById('running').hidden`;
const seen = (page) => page.value(`({
  verdict: document.getElementById('verdict').textContent,
  sentence: document.getElementById('sentence').textContent,
  colour: getComputedStyle(document.getElementById('banner')).backgroundColor,
  status: document.getElementById('status').textContent,
  focus: document.activeElement.id,
  title: document.title,
  report: document.getElementById('report').innerText,
  headings: [...document.querySelectorAll('#report h3')].map((h) => h.textContent),
  codes: [...document.querySelectorAll('#report td code')].map((c) => c.textContent),
  contents: [...document.querySelectorAll('#report pre')].map((p) => p.textContent),
  strangers: document.querySelectorAll('#report img, #report script, #report b, #report a').length,
})`);

// Nothing but the page itself was asked for, and nothing went wrong.
function quiet(page) {
  assert.deepEqual(page.requests, [url]);
  assert.deepEqual(page.errors, []);
  assert.equal(knocks, 0);
}

async function picture(page, name) {
  if (!process.env.PICTURES) return;
  mkdirSync(process.env.PICTURES, { recursive: true });
  writeFileSync(join(process.env.PICTURES, `${name}.png`), await page.picture());
}

for (const [names, verdict, word] of [[GOOD, 'intact', '✓ Intact'], [ALTERED, 'altered', '✕ Altered']]) {
  for (const name of names) {
    test(`${name} is shown ${verdict}`, async () => {
      const page = await opened();
      await check(page, { fingerprint: bundles.fingerprint, file: name });
      await page.until(ANSWERED);
      const shown = await seen(page);
      const said = bundles.verify(name, '--key', bundles.fingerprint);
      assert.equal(said.verdict, verdict);
      assert.equal(shown.verdict, word);
      assert.equal(shown.colour, COLOURS[verdict]);
      assert.equal(shown.focus, 'verdict');
      assert.equal(shown.status, `${verdict}: ${shown.sentence}`);
      assert.deepEqual(shown.codes, said.problems.map(({ code }) => code));
      assert.equal(shown.headings.includes('What was found'), verdict === 'altered');
      assert.deepEqual(shown.contents, said.events.map(({ payload }) => payload).filter((p) => p !== undefined).map((p) => p.replace('\u202e', '⟨U+202E⟩')));
      assert.equal(shown.strangers, 0);
      for (const log of said.logs) assert.ok(shown.report.includes(log.head) && shown.report.includes(log.log_key ?? ''), name);
      quiet(page);
      await picture(page, `${name.replace(/\W+/g, '-')}-${verdict}`);
    });
  }
}

test('without a fingerprint, or with another one, it is unproven', async () => {
  const page = await opened();
  await check(page, { file: 'open/history.mdna-bundle' });
  await page.until(ANSWERED);
  const without = await seen(page);
  assert.deepEqual([without.verdict, without.colour], ['? Unproven', COLOURS.unproven]);
  assert.match(without.sentence, /named no fingerprint/);
  await check(page, { fingerprint: 'ab'.repeat(32) });
  await page.until(ANSWERED);
  const other = await seen(page);
  assert.equal(other.verdict, '? Unproven');
  assert.match(other.sentence, /another key than you named/);
  quiet(page);
});

test('a fingerprint may be grouped and in capitals; a part of one is refused', async () => {
  const page = await opened();
  const grouped = bundles.fingerprint.toUpperCase().replace(/(.{4})/g, '$1 ');
  await check(page, { fingerprint: grouped, file: 'part.mdna-proof' });
  await page.until(ANSWERED);
  assert.equal((await seen(page)).verdict, '✓ Intact');
  await check(page, { fingerprint: bundles.fingerprint.slice(1) });
  await page.until(`document.getElementById('fingerprint').getAttribute('aria-invalid') === 'true'`);
  const { focus } = await seen(page);
  assert.equal(focus, 'fingerprint');
  assert.equal(await page.value(`document.getElementById('answer').hidden`), true);
  assert.match(await page.value(`document.getElementById('fingerprint-error').textContent`), /64 digits/);
});

test('an answer goes when what it was found with changes', async () => {
  const page = await opened();
  await check(page, { fingerprint: bundles.fingerprint, file: 'part.mdna-proof' });
  await page.until(ANSWERED);
  await page.value(`document.getElementById('fingerprint').focus()`);
  await page.type('0');
  assert.equal(await page.value(`document.getElementById('answer').hidden`), true);
});

test('kept checkpoints and policies count', async () => {
  const page = await opened();
  await check(page, { fingerprint: bundles.fingerprint, file: 'early/history.mdna-bundle', kept: ['late.checkpoint'] });
  await page.until(ANSWERED);
  const behind = await seen(page);
  assert.deepEqual(behind.codes, ['log.rolled_back']);
  assert.match(behind.sentence, /^This is an older state/);
  assert.match(behind.report, /A checkpoint that you kept is newer: \d+ events of it are not here\./);
  await check(page, { policy: 'bad.policy' });
  await page.until(`document.getElementById('policy-error').textContent !== ''`);
  assert.match(await page.value(`document.getElementById('policy-error').textContent`), /line 1/);
  assert.equal(await page.value(`document.getElementById('answer').hidden`), true);
  quiet(page);
});

test('something else than a bundle is not judged', async () => {
  const page = await opened();
  await check(page, { fingerprint: bundles.fingerprint, file: 'none.mdna-bundle' });
  await page.until(ANSWERED);
  const shown = await seen(page);
  assert.equal(shown.verdict, 'Not judged');
  assert.ok(!Object.values(COLOURS).includes(shown.colour));
});

test('a file may be dropped, and the page worked by keyboard alone', async () => {
  const page = await opened();
  assert.equal(await page.value('document.activeElement.id'), 'fingerprint');
  await page.type(bundles.fingerprint);
  const data = { items: [], files: [bundles.at('open/history.mdna-bundle')], dragOperationsMask: 1 };
  for (const type of ['dragEnter', 'dragOver', 'drop']) await page.send('Input.dispatchDragEvent', { type, x: 400, y: 700, data });
  await page.until(`document.getElementById('bundle').files.length === 1`);
  const order = [];
  for (let i = 0; i < 3; i += 1) {
    await page.press('Tab');
    order.push(await page.value(`document.activeElement.id || document.activeElement.tagName`));
  }
  assert.deepEqual(order, ['bundle', 'SUMMARY', 'BUTTON']);
  await page.press('Enter', 'Enter', '\r');
  await page.until(ANSWERED);
  assert.equal((await seen(page)).verdict, '✓ Intact');
  quiet(page);
});

test('a long history is shown a hundred events at a time', async () => {
  const page = await opened();
  await check(page, { file: 'long/history.mdna-bundle' });
  await page.until(ANSWERED);
  const all = bundles.verify('long/history.mdna-bundle').events;
  const numbers = () => page.value(`[...document.querySelectorAll('#report td[data-of=Number]')].map((cell) => Number(cell.textContent))`);
  const press = async (name, from) => {
    await page.value(`[...document.querySelectorAll('.window button')].find((b) => b.textContent === '${name}').click()`);
    await page.until(`document.querySelector('.window p')?.textContent.startsWith('${from} to')`);
  };
  assert.ok(all.length > 100 && all.length < 200);
  assert.deepEqual(await numbers(), all.slice(0, 100).map((event) => event.leaf));
  await press('Later', 101);
  assert.deepEqual(await numbers(), all.slice(100).map((event) => event.leaf));
  assert.equal(await page.value('document.activeElement.id'), 'events');
  await press('Earlier', 1);
  await press('Last', all.length - 99);
  assert.deepEqual(await numbers(), all.slice(-100).map((event) => event.leaf));
  assert.deepEqual((await seen(page)).contents, all.slice(-100).map(({ payload }) => payload).filter((p) => p !== undefined));
  quiet(page);
});

test('what a history says is shown as text, and can do nothing', async () => {
  const page = await opened();
  await check(page, { fingerprint: bundles.fingerprint, file: 'open/history.mdna-bundle' });
  await page.until(ANSWERED);
  const { contents, strangers } = await seen(page);
  assert.ok(contents.includes(HOSTILE.replace('\u202e', '⟨U+202E⟩')));
  assert.equal(strangers, 0);
  quiet(page);
});

test('the page may not reach the network, even if it wanted to', async () => {
  const page = await opened();
  const target = `http://127.0.0.1:${server.address().port}/`;
  const tried = await page.value(`Promise.all([
    fetch('${target}').then(() => 'fetched', () => 'refused'),
    new Promise((resolve) => { const image = new Image(); image.onload = () => resolve('loaded'); image.onerror = () => resolve('refused'); image.src = '${target}'; }),
    import('${target}x.mjs').then(() => 'imported', () => 'refused'),
  ])`);
  assert.deepEqual(tried, ['refused', 'refused', 'refused']);
  assert.equal(knocks, 0);
  assert.ok(page.errors.some((text) => text.includes('Content Security Policy')));
});

test('all that is asked for has a label, and the printed report has no form', async () => {
  const page = await opened();
  await check(page, { fingerprint: bundles.fingerprint, file: 'open/history.mdna-bundle' });
  await page.until(ANSWERED);
  assert.equal(await page.value(`[...document.querySelectorAll('input, progress')].every((e) => e.labels.length === 1)`), true);
  const { nodes } = await page.send('Accessibility.getFullAXTree');
  const named = (role) => nodes.filter((n) => n.role?.value === role).map((n) => n.name?.value);
  assert.deepEqual(named('textbox'), ['1. The fingerprint of the log’s key']);
  assert.ok(named('table').length >= 2 && named('rowheader').includes('SHA-256') && named('columnheader').includes('Content'));
  await page.send('Emulation.setEmulatedMedia', { media: 'print' });
  const style = (selector, what) => page.value(`getComputedStyle(document.querySelector('${selector}')).${what}`);
  assert.equal(await style('form', 'display'), 'none');
  assert.equal(await style('#banner', 'backgroundColor'), COLOURS.intact);
  assert.equal(await style('#report', 'display'), 'block');
  const { data } = await page.send('Page.printToPDF', { printBackground: false });
  assert.equal(Buffer.from(data, 'base64').subarray(0, 5).toString(), '%PDF-');
  await picture(page, 'print');
});

// Contrast of text with what is behind it (WCAG 2.2, 1.4.3).
const CONTRAST = `(() => {
  const light = (colour) => {
    const [r, g, b] = colour.match(/[\\d.]+/g).map((c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (e) => {
    const colour = getComputedStyle(e).backgroundColor;
    return /, 0\\)$/.test(colour) && e.parentElement ? behind(e.parentElement) : colour;
  };
  const texts = [...document.querySelectorAll('body *')].filter((e) => e.checkVisibility() && [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()));
  return texts.map((e) => {
    const [a, b] = [light(getComputedStyle(e).color), light(behind(e))];
    return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), e.tagName + '.' + e.className];
  }).sort(([a], [b]) => a - b)[0];
})()`;

for (const dark of [false, true]) {
  for (const width of [1000, 380]) {
    test(`${dark ? 'dark' : 'light'}, ${width} pixels wide: it can be read, and needs no sideways scrolling`, async () => {
      for (const [verdict, file, fingerprint] of [['intact', 'open/history.mdna-bundle', bundles.fingerprint], ['altered', 'flipped.mdna-bundle', bundles.fingerprint], ['unproven', 'part.mdna-proof', '']]) {
        const page = await opened({ dark, width });
        if (verdict === 'intact') await picture(page, `form-${dark ? 'dark' : 'light'}-${width}`);
        await check(page, { fingerprint, file });
        await page.until(ANSWERED);
        assert.equal((await seen(page)).colour, COLOURS[verdict]);
        const [contrast, where] = await page.value(CONTRAST);
        assert.ok(contrast >= 4.5, `${where} has contrast ${contrast}`);
        assert.equal(await page.value('document.documentElement.scrollWidth <= innerWidth'), true);
        await picture(page, `${verdict}-${dark ? 'dark' : 'light'}-${width}`);
      }
    });
  }
}
