"""The Python verifier says of every bundle of spec/vectors what the vectors say.

    python3 -m unittest verifiers/python/test_vectors.py
"""

import base64
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
FOLDER = HERE.parent.parent / "spec" / "vectors"
VERIFIER = HERE / "mirrordna_verify.py"
EXIT = {"intact": 0, "altered": 1, "unproven": 3, None: 2}
#: What two verifiers must agree on; messages and places are words of their own.
COMPARED = [
    "log", "scope", "verdict", "size", "events", "head", "log_key", "identities", "bodies", "unsigned",
    "unattributed", "chain_complete", "missing_links", "disputed", "quorum", "witnessed", "freshness",
]


def said(case, folder):
    """What the command says of a case, and its exit status."""
    files = {"bundle": base64.b64decode(case["bundle"]), "policy": case["policy"].encode()}
    files.update({f"kept{n}": text.encode() for n, text in enumerate(case["kept"])})
    for name, content in files.items():
        (folder / name).write_bytes(content)
    args = [sys.executable, str(VERIFIER), "--json", "--policy", str(folder / "policy")]
    for n in range(len(case["kept"])):
        args += ["--kept", str(folder / f"kept{n}")]
    done = subprocess.run(args + [str(folder / "bundle")], capture_output=True, check=False, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})
    if b"Traceback" in done.stderr:
        raise AssertionError(done.stderr.decode())
    return done.returncode, json.loads(done.stdout) if done.returncode != 2 else None


class Vectors(unittest.TestCase):
    def test_every_case(self):
        files = FOLDER / "bundles.jsonl", FOLDER / "log_keys.jsonl"
        cases = [json.loads(line) for file in files for line in file.read_text().splitlines()]
        self.assertGreater(len(cases), 100)
        for case in cases:
            with self.subTest(case["name"]), tempfile.TemporaryDirectory() as folder:
                expect = case["expect"]
                status, found = said(case, pathlib.Path(folder))
                self.assertEqual(status, EXIT[expect["verdict"]])
                if expect["verdict"] is None:
                    continue
                self.assertEqual(found["verdict"], expect["verdict"])
                self.assertEqual(sorted({p["code"] for p in found["problems"]}), expect["codes"])
                self.assertEqual(len(found["logs"]), len(expect["logs"]))
                for log, wanted in zip(found["logs"], expect["logs"]):
                    for key in COMPARED:
                        # What a case says nothing of is not there: no list is an empty one.
                        self.assertEqual(log[key], wanted.get(key, []), key)


if __name__ == "__main__":
    unittest.main()
