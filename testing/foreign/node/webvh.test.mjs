// mirrordna's identities under a did:webvh resolver in JavaScript, and that
// resolver under the logs of five other implementations: one that says yes to
// everything would prove nothing.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { copyFileSync, existsSync, mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import test from "node:test";
import { fileURLToPath } from "node:url";
import { resolve } from "./webvh.mjs";

const here = path.dirname(fileURLToPath(import.meta.url));
const root = path.join(here, "..", "..", "..");
const vectors = (name) => JSON.parse(readFileSync(path.join(root, "spec", "vectors", name), "utf8"));
const refused = (log) => {
  try {
    resolve(log);
    return null;
  } catch (e) {
    return e.message;
  }
};

test("the identities of the vectors resolve", () => {
  const logs = vectors("did_logs.json");
  assert.equal(logs.length, 2);
  for (const { did_log, digest, actor_key } of logs) {
    const found = resolve(did_log);
    assert.equal(found.versions, 1);
    assert.match(found.did, /^did:webvh:Qm\w+:local\.invalid:(agt|usr|sys)$/);
    assert.ok(digest.length === 64 && actor_key.length === 64);
  }
});

test("no character of an identity can be another", () => {
  let changed = 0;
  for (const { did_log } of vectors("did_logs.json")) {
    for (let i = 0; i < did_log.length - 1; i += 3) {
      const other = did_log[i] === "a" ? "b" : "a";
      assert.notEqual(refused(did_log.slice(0, i) + other + did_log.slice(i + 1)), null, `character ${i}`);
      changed += 1;
    }
  }
  assert.ok(changed > 800, `${changed} changes`);
});

/** Folder with test data; where CI=true its absence is a failure. */
function corpus(t) {
  const folder = process.env.MIRRORDNA_CORPUS ?? path.join(root, "..", "shared", "corpus");
  if (existsSync(folder)) return path.join(folder, "vectors", "didwebvh", "vectors");
  assert.notEqual(process.env.CI, "true", `CI needs the corpus at ${folder}`);
  t.skip(`no corpus at ${folder}`);
  return null;
}

test("the resolver agrees with five other implementations", (t) => {
  const folder = corpus(t);
  if (!folder) return;
  let good = 0;
  const bad = {};
  for (const name of readdirSync(folder).filter((n) => !n.endsWith(".md"))) {
    for (const maker of readdirSync(path.join(folder, name))) {
      const file = path.join(folder, name, maker, "did.jsonl");
      if (!existsSync(file)) continue;
      const log = readFileSync(file, "utf8");
      if (name.startsWith("negative-")) {
        assert.ok(!(name in bad), "one log for each way to be wrong");
        bad[name.slice("negative-".length)] = refused(log);
      } else {
        assert.equal(refused(log), null, `${name} by ${maker}`);
        good += 1;
      }
    }
  }
  assert.equal(good, 64);
  assert.deepEqual(bad, {
    "did-key-body-fragment-mismatch": "signer",
    "portable-scid-swap": "id",
    "pre-rotation-omit-updatekeys": "keys",
    "scid-mismatch-genesis": "scid",
    "unknown-method-version": "scid",
    "versiontime-future": "time",
    "versiontime-non-monotonic": "time",
    "wrong-cryptosuite": "proof",
    // About the DID's location on the web: there is no log in them.
    "fragment-leaks-into-domain": "empty",
    "lowercase-pct-port-ip": "empty",
    "path-traversal-did": "empty",
    "pct-encoded-ip-host": "empty",
    "pct-encoded-traversal": "empty",
    // About witnesses, which neither this resolver nor mirrordna's identities have.
    "cross-did-witness-replay": null,
    "duplicate-witness-ids": null,
    "zero-witness-threshold": null,
  });
});

/** The command line in a folder of its own, or null where the test cannot run: where CI=true that is a failure. */
function commandLine(t) {
  const binary = process.env.MIRRORDNA_BIN;
  if (!binary) {
    assert.notEqual(process.env.CI, "true", "CI needs MIRRORDNA_BIN");
    t.skip("MIRRORDNA_BIN names no program");
    return null;
  }
  const home = mkdtempSync(path.join(tmpdir(), "mirrordna-foreign-"));
  t.after(() => rmSync(home, { recursive: true }));
  const env = { HOME: home, PATH: process.env.PATH, MIRRORDNA_STORE: path.join(home, "store.db") };
  const run = (...args) => {
    const done = spawnSync(binary, args, { env, encoding: "utf8" });
    assert.equal(done.status, 0, `${args.join(" ")}: ${done.stderr}`);
    return done.stdout;
  };
  return { run, home };
}

test("identities that were rotated, recovered and revoked resolve, and only whole and in order", (t) => {
  const cli = commandLine(t);
  if (!cli) return;
  // Versions are a second apart at least: made faster than that, the last ones are a little ahead of the clock.
  const now = Date.now() + 60_000;
  const log = () => cli.run("identity", "log", "Ada", "--did");
  const states = [];
  const next = (...args) => {
    cli.run("identity", ...args);
    states.push(log());
  };
  next("create", "agent", "--name", "Ada");
  next("rotate", "Ada");
  next("rotate", "Ada");
  const keys = path.join(cli.home, ".local", "share", "mirrordna", "keys");
  const recovery = path.join(keys, readdirSync(keys).find((name) => name.endsWith(".recovery")));
  copyFileSync(recovery, path.join(cli.home, "recovery"));
  next("recover", "Ada", "--recovery-file", path.join(cli.home, "recovery"));
  next("revoke", "Ada", "--reason", "the project ended");

  states.forEach((text, index) => {
    const found = resolve(text, { now });
    assert.deepEqual([found.versions, found.deactivated], [index + 1, index === 4]);
    assert.ok(index === 0 || text.startsWith(states[index - 1]), "what was said before stays");
  });
  const lines = states[4].trimEnd().split("\n");
  const of = (...numbers) => {
    try {
      resolve(numbers.map((n) => lines[n - 1]).join("\n"), { now });
      return null;
    } catch (e) {
      return e.message;
    }
  };
  assert.equal(of(1, 2, 3, 4, 5), null);
  assert.deepEqual([of(2, 3, 4, 5), of(1, 3, 4, 5), of(1, 2, 4, 5), of(1, 2, 3, 5), of(1, 3, 2)], Array(5).fill("number"));
  assert.deepEqual([of(1, 2, 2), of(1, 2, 3, 4, 5, 5)], Array(2).fill("number"));
});
