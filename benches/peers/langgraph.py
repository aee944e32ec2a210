"""LangGraph's SqliteSaver as a peer: one caller, WAL and synchronous=FULL as it ships.

    pip install langgraph-checkpoint-sqlite==3.1.2

Each line on standard input is a number of puts; each answer is the wall time
and the CPU time that they took, in seconds.
"""

import importlib.metadata
import sys
import time

PACKAGE, VERSION = "langgraph-checkpoint-sqlite", "3.1.2"


def main(path: str) -> None:
    found = importlib.metadata.version(PACKAGE)
    if found != VERSION:
        sys.exit(f"{PACKAGE} {VERSION} is what the figures are for, this is {found}")
    # This file has the package's name and its folder comes first.
    sys.path.pop(0)
    from langgraph.checkpoint.base import empty_checkpoint
    from langgraph.checkpoint.sqlite import SqliteSaver

    text = "the quick brown fox jumps over the lazy dog and runs on " * 4
    with SqliteSaver.from_conn_string(path) as saver:
        saver.setup()
        mode = saver.conn.execute("PRAGMA journal_mode").fetchone()[0]
        sync = saver.conn.execute("PRAGMA synchronous").fetchone()[0]
        print(f"{PACKAGE} {found}, journal_mode {mode}, synchronous {sync}", flush=True)
        config = {"configurable": {"thread_id": "bench", "checkpoint_ns": ""}}
        number = 0
        for line in sys.stdin:
            wall, cpu = time.perf_counter(), time.process_time()
            for _ in range(int(line)):
                number += 1
                checkpoint = empty_checkpoint()
                checkpoint["channel_values"] = {"text": f"{number:>8} {text}"}
                checkpoint["channel_versions"] = {"text": number}
                config = saver.put(config, checkpoint, {"source": "loop", "step": number}, {"text": number})
            print(time.perf_counter() - wall, time.process_time() - cpu, flush=True)


main(sys.argv[1])
