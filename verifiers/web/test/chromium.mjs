// A headless Chromium, spoken to over a pipe (Chrome DevTools Protocol): no
// port, no package.
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export class Chromium {
  constructor(program) {
    this.profile = mkdtempSync(join(tmpdir(), 'mirrordna-chromium-'));
    const quiet = ['background-networking', 'component-update', 'sync', 'default-apps', 'extensions', 'quic', 'gpu', 'dev-shm-usage'];
    const args = ['--headless=new', '--no-sandbox', '--no-first-run', '--remote-debugging-pipe', `--user-data-dir=${this.profile}`, ...quiet.map((what) => `--disable-${what}`)];
    this.process = spawn(program, args, { stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'], env: { ...process.env, HOME: this.profile } });
    [, , , this.out, this.in] = this.process.stdio;
    this.calls = new Map();
    this.listeners = [];
    this.count = 0;
    let rest = '';
    this.in.setEncoding('utf8').on('data', (data) => {
      const messages = (rest + data).split('\0');
      rest = messages.pop();
      messages.forEach((message) => this.take(JSON.parse(message)));
    });
    this.ended = new Promise((resolve) => this.process.once('exit', resolve));
    this.ended.then((status) => this.calls.forEach(({ reject }) => reject(new Error(`Chromium ended: ${status}`))));
  }

  take({ id, result, error, method, params, sessionId }) {
    if (id === undefined) {
      this.listeners.filter((l) => l.method === method && l.sessionId === sessionId).forEach((l) => l.heard(params));
      return;
    }
    const { resolve, reject } = this.calls.get(id);
    this.calls.delete(id);
    if (error) reject(new Error(error.message));
    else resolve(result);
  }

  send(method, params = {}, sessionId = undefined) {
    const id = (this.count += 1);
    return new Promise((resolve, reject) => {
      this.calls.set(id, { resolve, reject });
      this.out.write(`${JSON.stringify({ id, method, params, sessionId })}\0`);
    });
  }

  async open(url) {
    const { targetId } = await this.send('Target.createTarget', { url: 'about:blank' });
    const { sessionId } = await this.send('Target.attachToTarget', { targetId, flatten: true });
    const page = new Page(this, sessionId);
    for (const domain of ['Page', 'Runtime', 'Network', 'Log', 'DOM']) await page.send(`${domain}.enable`);
    page.on('Network.requestWillBeSent', ({ request }) => page.requests.push(request.url));
    page.on('Runtime.exceptionThrown', ({ exceptionDetails }) => page.errors.push(exceptionDetails.exception?.description ?? exceptionDetails.text));
    page.on('Log.entryAdded', ({ entry }) => page.errors.push(entry.text));
    const loaded = new Promise((resolve) => page.on('Page.loadEventFired', resolve));
    await page.send('Page.navigate', { url });
    await loaded;
    return page;
  }

  async close() {
    await this.send('Browser.close').catch(() => {});
    await this.ended;
    rmSync(this.profile, { recursive: true, force: true, maxRetries: 5 });
  }
}

export class Page {
  constructor(browser, sessionId) {
    Object.assign(this, { browser, sessionId, requests: [], errors: [] });
  }

  send(method, params) {
    return this.browser.send(method, params, this.sessionId);
  }

  on(method, heard) {
    this.browser.listeners.push({ method, sessionId: this.sessionId, heard });
  }

  // The value of an expression in the page; of a promise, what it becomes.
  async value(expression) {
    const { result, exceptionDetails } = await this.send('Runtime.evaluate', { expression, awaitPromise: true, returnByValue: true });
    if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
    return result.value;
  }

  // Resolves once an expression holds, judged again after each change of the
  // document.
  until(expression) {
    return this.value(`new Promise((resolve) => {
      const holds = () => { if (${expression}) { watch.disconnect(); resolve(); } };
      const watch = new MutationObserver(holds);
      watch.observe(document, { subtree: true, childList: true, attributes: true, characterData: true });
      holds();
    })`);
  }

  async give(selector, ...files) {
    const { root } = await this.send('DOM.getDocument');
    const { nodeId } = await this.send('DOM.querySelector', { nodeId: root.nodeId, selector });
    await this.send('DOM.setFileInputFiles', { nodeId, files });
  }

  async press(key, code = key, text = undefined) {
    for (const type of ['keyDown', 'keyUp']) await this.send('Input.dispatchKeyEvent', { type, key, code, windowsVirtualKeyCode: { Tab: 9, Enter: 13, ' ': 32 }[key], text: type === 'keyDown' ? text : undefined });
  }

  type(text) {
    return this.send('Input.insertText', { text });
  }

  async picture() {
    const { data } = await this.send('Page.captureScreenshot', { format: 'png', captureBeyondViewport: true });
    return Buffer.from(data, 'base64');
  }
}
