"""mirrordna's verifier under the corpora of `agent-evidence-vectors`.

    pip install agent-evidence-vectors==0.27.0
    cargo build --manifest-path testing/interop/Cargo.toml --target-dir target/interop --bin evidence
    EVIDENCE_BIN=target/interop/debug/evidence python integrations/evidence_vectors.py

A corpus that has a contract for a verifier is run by the tool itself, with its
`--verifier`; what it must print is pinned below. Two sets that ship with the
package have none and are read here: the byte cases of canonical JSON, and of the
audit records the envelope that their format shares with ours. Every other
corpus of the package is named with the reason why it does not fit, and one that
is neither run nor named fails this program.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from agent_evidence_vectors import run_vectors

#: Corpus, environment, task of the verifier, and what the tool prints when all is well.
RUN = [
    ("vectors-anchored-chain", {}, "anchored-chain", "answered 14 of 14 cases, 0 disagreements"),
    ("vectors-trace-anchor", {}, "trace-anchor", "answered 27 of 27 cases, 0 disagreements"),
    ("vectors-a2a-jcs-v01", {"A2A_JCS_TARGET": "rfc8785"}, "", "executed 53 of 53, 53 pass"),
    ("vectors-a2a-jcs-v01", {"A2A_JCS_TARGET": "card-signing-input"}, "", "executed 57 of 57, 57 pass"),
]

PREDICATE = "a predicate of in-toto about what an agent did; mirrordna has no such statement"
DONE = "a record of builds and gradings of coding tasks; mirrordna has no such record"
RULES = "rules about what a gate may allow, not about bytes, hashes or signatures"
FOREIGN = "the record format of another product, which mirrordna neither writes nor imports"

#: Why the others do not fit.
LEFT_OUT = {
    "vectors": PREDICATE,
    "vectors-admission": PREDICATE,
    "vectors-aci": FOREIGN,
    "vectors-acs-core": FOREIGN,
    "vectors-agent-change-admission": RULES,
    "vectors-agent-decision": PREDICATE,
    "vectors-agentic-process-evidence": PREDICATE,
    "vectors-ai-agent-action": PREDICATE,
    "vectors-ai-generation": PREDICATE,
    "vectors-anchor-stream": "streams of another product's anchors, with members that are no files: the tool refuses a verifier",
    "vectors-approval-binding": RULES,
    "vectors-artifact-binding": DONE,
    "vectors-authority-at-dispatch": RULES,
    "vectors-chunked-export": RULES,
    "vectors-converted-argument-binding": RULES,
    "vectors-delegation-lifecycle": RULES,
    "vectors-dependency-selection": DONE,
    "vectors-dispatch-fence": RULES,
    "vectors-done-contract": DONE,
    "vectors-done-probes": DONE,
    "vectors-done-receipt": DONE,
    "vectors-grade-floor": RULES,
    "vectors-grader-isolation": DONE,
    "vectors-identity-binding": "did:web and did:wba with their web resolution; identities here are did:webvh and did:key",
    "vectors-mcp-owasp": RULES,
    "vectors-mcp-record-contract": FOREIGN,
    "vectors-mcp-response-phase": FOREIGN,
    "vectors-observed-effect": PREDICATE,
    "vectors-receipt-chain-end": FOREIGN,
    "vectors-receipt-signature": "receipts under key sets with validity windows (JWKS); a key here is in force by its place in the log",
    "vectors-recorded": "digest lists of files; the tool refuses a verifier",
    "vectors-scitt-cose": "COSE with algorithms and receipts of SCITT; of COSE mirrordna accepts one shape, its own (PROTOCOL 4.2)",
    "vectors-self-reported-record": PREDICATE,
    "vectors-source-coverage": RULES,
    "vectors-spoofed-tool-output": DONE,
    "vectors-test-tampering": DONE,
    "vectors-w3c-intake": "reports of test runs",
    "vectors-w3c-report": "reports of test runs",
}

#: Refusals of the audit record's format that lie in the envelope.
ENVELOPE = {"duplicate-member", "nesting-too-deep", "signature-invalid", "unsafe-integer"}


def main() -> int:
    verifier = os.environ["EVIDENCE_BIN"]
    failures: list[str] = []

    def check(what: str, found, expected) -> None:
        print(f"{what}: {found}")
        if found != expected:
            failures.append(f"{what}: expected {expected}")

    root = Path(run_vectors.corpora_root())
    with tempfile.TemporaryDirectory() as scratch:
        for corpus, environment, task, expected in RUN:
            done = subprocess.run(
                [sys.executable, "-m", "agent_evidence_vectors.run_vectors", "--corpus", corpus,
                 "--verifier", f"{verifier} {task}".strip(), "--report", f"{scratch}/report.json"],
                env={**os.environ, **environment}, capture_output=True, text=True)
            print(f"{corpus} {' '.join(environment.values())}: {done.stdout.strip()}")
            if done.returncode != 0 or expected not in done.stdout:
                failures.append(f"{corpus}: status {done.returncode}, expected `{expected}`; {done.stderr.strip()}")

        def answer(task: str, text: str, *more: str) -> tuple[int, dict]:
            file = Path(scratch) / "input.json"
            file.write_text(text, encoding="utf-8")
            done = subprocess.run([verifier, task, str(file), *more], capture_output=True, text=True)
            lines = done.stdout.splitlines()
            return done.returncode, json.loads(lines[-1]) if lines else {}

        cases = json.loads(Path(run_vectors.jcs_byte_vectors_path()).read_text(encoding="utf-8"))
        bytes_of = [answer("rfc8785", case["input"]) for case in cases["canonicalCases"]]
        good = sum((0, case["canonicalHex"]) == (code, found.get("canonical_utf8_hex"))
                   for case, (code, found) in zip(cases["canonicalCases"], bytes_of))
        refused = sum(answer("rfc8785", case["input"])[0] == 1 for case in cases["rejectCases"] if "jcsError" in case)
        check("jcs-byte-vectors: canonical forms, refusals", (good, refused), (5, 2))

        folder = root / "vectors-agent-audit-record"
        manifest = json.loads((folder / "MANIFEST.json").read_text(encoding="utf-8"))
        key = manifest["keys"]["observer"]["publicKey"]
        accepted = refused = beyond = 0
        for entry in manifest["vectors"]:
            text = (folder / entry["file"]).read_text(encoding="utf-8")
            if "payload" not in json.loads(text):
                continue
            code, found = answer("audit-record", text, key)
            of_envelope = ENVELOPE.intersection(entry["expected"].get("codes") or [])
            if of_envelope:
                refused += code == 1 and found.get("reason") in of_envelope
            elif entry["expected"].get("verdict") == "valid":
                accepted += code == 0
            else:
                # Refused by rules about the statement, which is no business of an envelope.
                beyond += code == 0
        check("vectors-agent-audit-record: envelopes accepted, refused, refused only by the statement",
              (accepted, refused, beyond), (36, 4, 76))

    shipped = set(run_vectors.shipped_corpora())
    named = {corpus for corpus, *_ in RUN} | {"vectors-agent-audit-record"} | set(LEFT_OUT)
    check("corpora neither run nor named", sorted(shipped - named), [])
    check("corpora named that are not there", sorted(named - shipped), [])
    print(f"{len(LEFT_OUT)} corpora do not fit:")
    for corpus, reason in LEFT_OUT.items():
        print(f"  {corpus}: {reason}")
    for failure in failures:
        print(f"FAILED {failure}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
