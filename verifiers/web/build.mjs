// Puts the page together: one file that holds its style, its program and the
// verifier's module, and forbids itself everything else.
//
//   node build.mjs MODULE.wasm TOOLCHAIN > verify.html
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';

const [, , modulePath, toolchain] = process.argv;
const source = (name) => readFileSync(new URL(`page/${name}`, import.meta.url), 'utf8');
const sha256 = (bytes, form) => createHash('sha256').update(bytes).digest(form);

// One script, in which nothing is imported or exported.
const script = ['verifier.mjs', 'page.mjs']
  .map(source)
  .map((text) => text.replace(/^import .*\n/gm, '').replace(/^export /gm, ''))
  .join('\n');
const style = source('verify.css');
const wasm = readFileSync(modulePath);

const allowed = (text) => `'sha256-${sha256(text, 'base64')}'`;
const parts = {
  csp: [
    "default-src 'none'",
    `script-src ${allowed(script)} 'wasm-unsafe-eval'`,
    `style-src ${allowed(style)}`,
    "base-uri 'none'",
    "form-action 'none'",
  ].join('; '),
  toolchain,
  style,
  script,
  module: sha256(wasm, 'hex'),
  wasm: wasm.toString('base64').replace(/.{120}/g, '$&\n'),
};
if (/<\/(script|style)/i.test(script + style)) throw new Error('a part would end its element');
process.stdout.write(source('verify.html').replace(/{{(\w+)}}/g, (_, name) => parts[name]));
