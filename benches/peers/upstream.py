"""The upstream MirrorDNA Python SDK as a peer, unchanged, from a checkout.

    pip install jsonschema==4.26.0 PyYAML==6.0.3 cryptography==50.0.2
    git clone https://github.com/MirrorDNA-Reflection-Protocol/MirrorDNA   # b27f376

Arguments: the checkout and an empty folder. Each line on standard input is
`fill N`, `write K` or `get K`; each answer is the wall time and the CPU time
that it took, in seconds. `fill` writes the collection as the SDK would have
left it: its own writes rewrite everything there is each time.
"""

import json
import pathlib
import sys
import time

checkout, folder = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
sys.path.insert(0, str(checkout / "src"))

import mirrordna.validator as validator  # noqa: E402
from mirrordna.memory import MemoryManager  # noqa: E402
from mirrordna.storage import JSONFileStorage  # noqa: E402

# The SDK looks for its schemas one folder above where they are.
validator._validator = validator.Validator(checkout / "schemas" / "extensions")
TEXT = "the quick brown fox jumps over the lazy dog and runs on " * 4
SESSION, AGENT, USER = "sess_20260101_000000_0123abcd", "mdna_agt_0123456789abcdef", "mdna_usr_0123456789abcdef"


def record(number: int) -> dict:
    source = {"session_id": SESSION, "timestamp": "2026-01-01T00:00:00Z", "agent_id": AGENT, "user_id": USER}
    return {"memory_id": f"mem_20260101_000000_{number:08x}", "tier": "episodic", "content": f"{number:>8} {TEXT}", "source": source}


def main() -> None:
    manager = MemoryManager(JSONFileStorage(folder))
    filled = 0
    print("ready", flush=True)
    for line in sys.stdin:
        verb, count = line.split()[0], int(line.split()[1])
        wall, cpu = time.perf_counter(), time.process_time()
        if verb == "fill":
            filled = count
            with open(folder / "memories.json", "w") as f:
                json.dump({r["memory_id"]: r for r in map(record, range(count))}, f, indent=2)
        elif verb == "write":
            for number in range(count):
                manager.write_memory(f"{number:>8} {TEXT}", "episodic", SESSION, AGENT, USER)
        else:
            for number in range(count):
                if manager.get_memory(record(number * 7919 % filled)["memory_id"]) is None:
                    sys.exit("a memory is gone")
        print(time.perf_counter() - wall, time.process_time() - cpu, flush=True)


main()
