// A resolver of did:webvh 1.0 logs with nothing but Node's own crypto: strict
// enough to say no, and written from the specifications alone (did:webvh 1.0,
// RFC 8785, W3C Data Integrity eddsa-jcs-2022). It fetches nothing: witnesses
// and web locations are not looked at.

import { createHash, createPublicKey, verify } from "node:crypto";

const ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";

function base58(bytes) {
  let n = BigInt("0x0" + Buffer.from(bytes).toString("hex"));
  let text = "";
  for (; n > 0n; n /= 58n) text = ALPHABET[Number(n % 58n)] + text;
  for (const byte of bytes) {
    if (byte !== 0) break;
    text = "1" + text;
  }
  return text;
}

function unbase58(text) {
  let n = 0n;
  for (const c of text) {
    const digit = ALPHABET.indexOf(c);
    if (digit < 0) throw new Error("base58");
    n = n * 58n + BigInt(digit);
  }
  let hex = n === 0n ? "" : n.toString(16);
  if (hex.length % 2) hex = "0" + hex;
  const zeros = /^1*/.exec(text)[0].length;
  return Buffer.concat([Buffer.alloc(zeros), Buffer.from(hex, "hex")]);
}

// RFC 8785: JavaScript's own numbers and strings, keys in UTF-16 order.
function jcs(value) {
  if (Array.isArray(value)) return `[${value.map(jcs).join(",")}]`;
  if (value === null || typeof value !== "object") {
    if (typeof value === "string" && !value.isWellFormed()) throw new Error("surrogate");
    return JSON.stringify(value);
  }
  return `{${Object.keys(value).sort().map((k) => `${JSON.stringify(k)}:${jcs(value[k])}`).join(",")}}`;
}

const sha256 = (data) => createHash("sha256").update(data).digest();
const multihash = (data) => base58(Buffer.concat([Buffer.from([0x12, 0x20]), sha256(data)]));

function publicKey(multikey) {
  if (!multikey.startsWith("z")) throw new Error("multikey");
  const raw = unbase58(multikey.slice(1));
  if (raw.length !== 34 || raw[0] !== 0xed || raw[1] !== 0x01) throw new Error("multikey");
  return createPublicKey({ key: { kty: "OKP", crv: "Ed25519", x: raw.subarray(2).toString("base64url") }, format: "jwk" });
}

function without(object, name) {
  const { [name]: _, ...rest } = object;
  return rest;
}

const fail = (why) => {
  throw new Error(why);
};

/** The newest version of a log: {did, scid, versions, deactivated, keys}. Throws with the rule that is broken. */
export function resolve(log, { now = Date.now() } = {}) {
  const lines = log.split("\n").filter((line) => line !== "");
  if (lines.length === 0) fail("empty");
  let parameters = {};
  let previous, scid, time, did;
  lines.forEach((line, index) => {
    const entry = JSON.parse(line);
    const given = entry.parameters;
    const [number, hash] = [entry.versionId.slice(0, entry.versionId.indexOf("-")), entry.versionId.slice(entry.versionId.indexOf("-") + 1)];
    if (number !== String(index + 1)) fail("number");
    if (parameters.deactivated) fail("deactivated");
    const unproven = without(entry, "proof");
    if (index === 0) {
      scid = given.scid;
      previous = scid;
      const blank = JSON.parse(JSON.stringify({ ...unproven, versionId: "{SCID}" }).replaceAll(scid, "{SCID}"));
      if (multihash(jcs(blank)) !== scid) fail("scid");
    } else if ("scid" in given) fail("scid");
    if (multihash(jcs({ ...unproven, versionId: previous })) !== hash) fail("hash");
    if (index === 0 || "method" in given) if (given.method !== "did:webvh:1.0") fail("method");

    const when = Date.parse(entry.versionTime);
    if (!/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/.test(entry.versionTime) || Number.isNaN(when)) fail("time");
    if (when > now || (index > 0 && when <= time)) fail("time");

    // Keys that the version before committed to, or those in force.
    const committed = parameters.nextKeyHashes ?? [];
    const active = committed.length > 0 || index === 0 ? given.updateKeys : parameters.updateKeys;
    if (!Array.isArray(active) || active.length === 0) fail("keys");
    if (committed.length > 0 && !given.updateKeys.every((key) => committed.includes(multihash(key)))) fail("pre-rotation");

    const id = entry.state.id;
    const parts = id.split(":");
    if (parts[0] !== "did" || parts[1] !== "webvh" || parts[2] !== scid) fail("id");
    if (index > 0 && id !== did && !parameters.portable) fail("moved");

    const proofs = Array.isArray(entry.proof) ? entry.proof : [entry.proof];
    if (proofs.length === 0) fail("proof");
    for (const proof of proofs) {
      if (proof.type !== "DataIntegrityProof" || proof.cryptosuite !== "eddsa-jcs-2022" || proof.proofPurpose !== "assertionMethod") fail("proof");
      const method = /^did:key:(z[^#]+)#(z.+)$/.exec(proof.verificationMethod);
      if (!method || method[1] !== method[2] || !active.includes(method[1])) fail("signer");
      const signed = Buffer.concat([sha256(jcs(without(proof, "proofValue"))), sha256(jcs(unproven))]);
      if (!proof.proofValue.startsWith("z")) fail("proof");
      if (!verify(null, signed, publicKey(method[1]), unbase58(proof.proofValue.slice(1)))) fail("signature");
    }
    parameters = { ...parameters, ...given };
    [previous, time, did] = [entry.versionId, when, id];
  });
  return { did, scid, versions: lines.length, deactivated: parameters.deactivated === true, keys: parameters.updateKeys };
}
