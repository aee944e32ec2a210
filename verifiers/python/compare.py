"""Hold the Python verifier and the engine's against each other.

    python3 compare.py ENGINE [--mutations N] [--seed S] [--keep FOLDER] [FILE...]

Every bundle that test_mirrordna_verify.py writes, good or bad, and N mutations
of each bundle FILE, goes through `ENGINE verify` and through this folder's
verifier. Verdicts, sets of codes and figures must be the same; each other case
is printed, once for each way in which it differs.
The exit status is 0 if all agree, else 1.
"""

import argparse
import hashlib
import io
import json
import random
import struct
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import mirrordna_verify as v
import test_mirrordna_verify as t

FIGURES = ["log", "scope", "verdict", "size", "events", "head", "log_key", "identities", "bodies", "unsigned", "unattributed",
           "chain_complete", "missing_links", "freshness", "quorum", "witnessed", "adopted", "disputed", "times"]


def written():
    """(name, bundle, policy, keys, kept) of what the tests judge."""
    cases, judge = {}, t.judge

    def note(data, policy="", keys=(), kept=()):
        report = judge(data, policy, keys, kept)
        frame = sys._getframe(1)
        while not frame.f_code.co_name.startswith("test_"):
            frame = frame.f_back
        case = frame.f_code.co_name, data, policy, tuple(keys), tuple(kept)
        cases[hashlib.sha256(repr(case[1:]).encode()).digest()] = case
        return report

    t.judge = note
    try:
        suite = unittest.TestSuite(unittest.defaultTestLoader.loadTestsFromTestCase(c) for c in (
            t.Bundles, t.Adoptions, t.Checkpoints, t.Leaves, t.Parts, t.Witnesses, t.Vectors, t.Robustness))
        result = unittest.TextTestRunner(stream=io.StringIO()).run(suite)
    finally:
        t.judge = judge
    if not result.wasSuccessful():
        raise SystemExit("the tests fail: run them first")
    return list(cases.values())


def frames(data):
    at, out = len(v.MAGIC), []
    while at < len(data):
        size = struct.unpack_from(">I", data, at)[0]
        tag, items = v.read_frame(data[at + 4:at + 4 + size])
        at += 4 + size
        if tag != 9:
            out.append([tag] + items)
    return out


def mutated(data, rng):
    """A bundle with one to three changes below the level of frames, its digest made anew."""
    def flip(item):
        item = bytearray(item or b"\0")
        item[rng.randrange(len(item))] ^= 1 << rng.randrange(8)
        return bytes(item)

    out = frames(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        places = [i for i, f in enumerate(out) if f[0] == 1]
        if not places:
            break
        at, other = rng.choice(places), rng.choice(places)
        f = out[at]
        change = rng.randrange(11)
        if change == 0:
            f[3] = flip(f[3])
        elif change == 1 and isinstance(f[4], bytes):
            f[4] = flip(f[4])
        elif change == 2:
            f[4] = None
        elif change == 3 and isinstance(f[4], bytes):
            f[4:6] = [len(f[4]) + rng.choice((0, 0, 0, 1)), None]
        elif change == 4:
            f[5] = rng.choice((None, bytes(32)))
        elif change == 5 and f[6] is not None:
            f[6] = rng.choice((None, flip(f[6])))
        elif change == 6:
            f[2] ^= 1
        elif change == 7:
            del out[at:at + rng.randrange(1, 6)]
        elif change == 8:
            out.insert(at, list(f))
        elif change == 9:
            out[at], out[other] = out[other], out[at]
        elif change == 10:
            f[1] += 1
    return t.pack(out)


def differences(engine, folder, data, policy, keys, kept):
    bundle = folder / "bundle"
    bundle.write_bytes(data)
    command = [engine, "verify", str(bundle), "--json"]
    if policy:
        (folder / "policy").write_text(policy)
        command += ["--policy", str(folder / "policy")]
    for key in keys:
        command += ["--key", key]
    for i, note in enumerate(kept):
        (folder / ("kept%d" % i)).write_text(note)
        command += ["--kept", str(folder / ("kept%d" % i))]
    done = subprocess.run(command, capture_output=True, text=True)
    mine = t.judge(data, policy, keys, kept)
    try:
        theirs = json.loads(done.stdout)
    except ValueError:
        return ["the engine says: %s" % done.stderr.strip()]
    out = []
    for what, mine_, theirs_ in (("verdict", mine["verdict"], theirs["verdict"]),
                                 ("codes", sorted(t.codes(mine)), sorted(t.codes(theirs))),
                                 ("logs", len(mine["logs"]), len(theirs["logs"]))):
        if mine_ != theirs_:
            out.append("%s: python %s, engine %s" % (what, mine_, theirs_))
    for a, b in zip(mine["logs"], theirs["logs"]):
        out += ["%s: python %s, engine %s" % (k, a[k], b.get(k)) for k in FIGURES if a[k] != b.get(k)]
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("engine", metavar="ENGINE", help="the mirrordna command")
    parser.add_argument("files", metavar="FILE", nargs="*", help="a bundle to be mutated")
    parser.add_argument("--mutations", type=int, default=200, help="of each FILE")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", metavar="FOLDER", type=Path, help="write the first bundle of each difference there")
    options = parser.parse_intermixed_args()
    rng = random.Random(options.seed)
    cases = written()
    for file in options.files:
        data = Path(file).read_bytes()
        trusted = [log["log_key"] for log in t.judge(data)["logs"]]
        cases += [("mutation %d of %s" % (n, file), mutated(data, rng), "", tuple(trusted), ())
                  for n in range(options.mutations)]
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, *case in cases:
            for difference in differences(options.engine, Path(folder), *case):
                found.setdefault(difference, []).append((name, case[0]))
    for difference, where in sorted(found.items()):
        print("%s\n    %d times, first: %s" % (difference[:600], len(where), where[0][0]))
        if options.keep:
            kept = options.keep / ("%s.mdna-bundle" % hashlib.sha256(where[0][1]).hexdigest()[:12])
            kept.write_bytes(where[0][1])
            print("    %s" % kept)
    print("%d bundles, %d differences" % (len(cases), len(found)))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
