// Drives the verifier's module: one instance for each judgement. Runs in a
// browser and in Node; it touches no document and opens no connection.

// Read at once, bytes: a file may be larger than the memory.
const SLICE = 1 << 18;

// The verifier's own refusal: not a bundle, not a policy, not a checkpoint.
export class Refused extends Error {}

export function unhex(text) {
  return Uint8Array.from(text.match(/../g) ?? [], (digits) => parseInt(digits, 16));
}

// What stands in the page as base64.
export function compile(base64) {
  const text = atob(base64.trim());
  return WebAssembly.compile(Uint8Array.from(text, (c) => c.charCodeAt(0)));
}

class Session {
  static async begin(module) {
    // No imports: it can reach nothing but its own memory.
    const { exports } = await WebAssembly.instantiate(module, {});
    return new Session(exports);
  }

  constructor(exports) {
    this.exports = exports;
    this.session = exports.begin();
  }

  call(name, bytes = new Uint8Array()) {
    const { exports, session } = this;
    const at = exports.alloc(session, bytes.length) >>> 0;
    new Uint8Array(exports.memory.buffer, at, bytes.length).set(bytes);
    const refused = exports[name](session);
    const [start, length] = [exports.result(session) >>> 0, exports.result_len(session)];
    const text = new TextDecoder().decode(new Uint8Array(exports.memory.buffer, start, length));
    if (refused) throw new Refused(text);
    return text;
  }

  window(from, count) {
    this.exports.window(this.session, from, count);
  }
}

// What a disclosed body says, or why it cannot be shown.
async function open(session, { aead, key, bound_to, bytes, too_long }) {
  if (too_long !== undefined) return { unshown: 'too_long', payload_bytes: too_long };
  if (aead !== 'aes-256-gcm' || !globalThis.crypto?.subtle) return { unshown: aead };
  const { subtle } = globalThis.crypto;
  const how = { name: 'AES-GCM', iv: new Uint8Array(12), additionalData: unhex(bound_to), tagLength: 128 };
  try {
    const opener = await subtle.importKey('raw', unhex(key), 'AES-GCM', false, ['decrypt']);
    const plain = new Uint8Array(await subtle.decrypt(how, opener, unhex(bytes)));
    return JSON.parse(session.call('body', plain));
  } catch {
    // As the engine says of a body that no key opens.
    return { body: 'locked', unshown: 'not_opened' };
  }
}

// Judges a bundle with what its reader trusts.
//
// `file` is a Blob; `fingerprints` are byte arrays of 32; `policy` is a text as
// bytes; `kept` are signed notes as bytes. `events` are those asked for, from
// number `from` (counted from 0) on, at most `count`. `progress` is told the
// bytes that were read; where it answers false the judgement is given up, and
// the answer is null.
export async function judge(module, { file, fingerprints = [], policy, kept = [], from = 0, count = 0, progress }) {
  const session = await Session.begin(module);
  if (policy) session.call('policy', policy);
  for (const fingerprint of fingerprints) session.call('fingerprint', fingerprint);
  for (const note of kept) session.call('keep', note);
  session.window(from, count);
  for (let at = 0; at < file.size; at += SLICE) {
    const slice = await file.slice(at, at + SLICE).arrayBuffer();
    session.call('feed', new Uint8Array(slice));
    if (progress?.(Math.min(at + SLICE, file.size)) === false) return null;
  }
  const answer = JSON.parse(session.call('finish'));
  for (const event of answer.events) {
    const { sealed } = event;
    delete event.sealed;
    if (sealed) Object.assign(event, await open(session, sealed));
  }
  answer.memory = session.exports.memory.buffer.byteLength;
  return answer;
}
