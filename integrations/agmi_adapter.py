"""mirrordna under the public tamper yardstick `agent-memory-integrity`.

    pip install agent-memory-integrity==0.6.3
    PYTHONPATH=integrations agmi-check --adapter agmi_adapter:Adapter
    PYTHONPATH=integrations agmi-check --adapter agmi_adapter:Repairing

The store is written and read by the command line (`MIRRORDNA_BIN`, else
`mirrordna` in PATH). It is edited with Python's own sqlite3, which knows
nothing of the engine: whoever holds the database file, and neither the
keyring nor the head witness, can do what is done here.

`Adapter` edits the rows of events. `Repairing` is a harder attacker: after
each edit it brings everything into line again that can be computed without a
key (commitments, chain links, sizes, heads, the tree's right edge, tiles), and
drops what is derived.

The verdict is that of the read path. A store passes for intact as soon as one
of the reads that an agent makes (its memories, a search, its timeline) is
answered; it counts as refused only if all of them end with an integrity error
(exit status 13, codes MDNA-3xxx). Any other failure is an error of the
measurement, never a refusal.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import tempfile
from pathlib import Path

from agmi.adapters.base import MemoryAdapter, Record

#: Exit status of the command line for integrity errors: 10 + first digit.
INTEGRITY = 13
#: Rows of events of one log: pos = n * 2**40 + leaf index.
LOG = 1 << 40
RECORD_PUT = 16
COLUMNS = ("pos", "leaf", "body", "subject", "secret")


# The header of an event (spec/PROTOCOL.md, chapter 3), as far as an attacker
# needs it: a CBOR array of twelve items of three sorts.

def _head(major: int, n: int) -> bytes:
    """The head of a CBOR item in its shortest form."""
    for extra, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if n < (24 if size == 1 else 0):
            return bytes([major << 5 | n])
        if n < 1 << 8 * size:
            return bytes([major << 5 | extra]) + n.to_bytes(size, "big")
    raise ValueError(n)


def _item(data: bytes, at: int):
    """The item of `data` at `at` (unsigned, bytes, text or array of those), and what follows it."""
    major, info = data[at] >> 5, data[at] & 31
    at += 1
    if info >= 24:
        size = 1 << info - 24
        info, at = int.from_bytes(data[at:at + size], "big"), at + size
    if major == 0:
        return info, at
    if major in (2, 3):
        content = data[at:at + info]
        return (content if major == 2 else content.decode()), at + info
    items = []
    for _ in range(info):
        item, at = _item(data, at)
        items.append(item)
    return items, at


def _encoded(value) -> bytes:
    if isinstance(value, int):
        return _head(0, value)
    if isinstance(value, bytes):
        return _head(2, len(value)) + value
    if isinstance(value, str):
        return _head(3, len(value)) + value.encode()
    return _head(4, len(value)) + b"".join(map(_encoded, value))


def header(leaf: bytes) -> list:
    """The twelve fields of the header in a leaf, signed or not."""
    return _item(leaf, leaf.index(b"\x8chmdna.ev1"))[0]


def flipped(data: bytes, at: int) -> bytes:
    """`data` with one bit of the byte at `at` changed."""
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1:]


def leaf_hash(leaf: bytes) -> bytes:
    return hashlib.sha256(b"\0" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()


def frontier(hashes: list[bytes]) -> bytes:
    """The roots of the perfect subtrees over `hashes`, largest first."""
    edge: list[bytes] = []
    for size, node in enumerate(hashes):
        while size & 1:
            node, size = node_hash(edge.pop(), node), size >> 1
        edge.append(node)
    return b"".join(edge)


class Adapter(MemoryAdapter):
    """Edits rows of events and nothing else."""

    name = "mirrordna"
    detection_point = "read"
    supports_replay = True
    supports_metadata = True
    supports_snapshot = True

    def __init__(self) -> None:
        self.binary = os.environ.get("MIRRORDNA_BIN") or shutil.which("mirrordna")
        if not self.binary:
            raise SystemExit("agmi_adapter: set MIRRORDNA_BIN, or put mirrordna into PATH")
        self._base: Path | None = None

    # --- the store, through the command line -----------------------------

    def setup(self) -> None:
        self._base = Path(tempfile.mkdtemp(prefix="mirrordna-agmi-"))
        self._folder = self._base / "store"
        self._folder.mkdir()
        self._db = self._folder / "mirrordna.db"
        # The keyring and the head witness have their usual places below HOME,
        # outside the folder that is copied and put back.
        self._env = {"HOME": str(self._base / "home"), "PATH": os.environ["PATH"], "MIRRORDNA_STORE": str(self._db)}
        self._written: dict[str, str] = {}
        self._agents = {name: self._create(name) for name in ("first", "second")}

    def teardown(self) -> None:
        if self._base is not None:
            shutil.rmtree(self._base)
            self._base = None

    def _run(self, *args: str) -> subprocess.CompletedProcess:
        return subprocess.run([self.binary, "--json", *args], env=self._env, capture_output=True, text=True, timeout=60)

    def _answer(self, *args: str):
        done = self._run(*args)
        if done.returncode != 0:
            raise RuntimeError(f"mirrordna {' '.join(args)}: status {done.returncode}: {done.stderr.strip()}")
        return json.loads(done.stdout)

    def _create(self, name: str) -> bytes:
        """Creates an agent; gives the beginning of the digest that headers carry."""
        created = self._answer("identity", "create", "agent", "--name", name)["id"]
        return bytes.fromhex(created.removeprefix("mdna_agt_"))

    def _remember(self, agent: str, text: str) -> None:
        done = self._answer("remember", text, "--identity", agent, "--subject", f"person of {agent}")
        if agent == "first":
            self._written[done["id"]] = text

    def seed(self, n: int) -> None:
        for i in range(n):
            self._remember("first", f"agmi seed {i}")

    def seed_other(self, n: int) -> None:
        for i in range(n):
            self._remember("second", f"agmi other {i}")

    def append_genuine(self) -> None:
        self._remember("first", "agmi seed late")

    def reload(self) -> None:
        """Every command opens the store anew."""

    def verify(self) -> bool:
        reads = {
            "memory list": ("memory", "list", "--identity", "first"),
            "recall": ("recall", "agmi seed", "--identity", "first"),
            "timeline list": ("timeline", "list", "--identity", "first"),
        }
        refused = {}
        for name, args in reads.items():
            done = self._run(*args)
            if done.returncode == INTEGRITY:
                refused[name] = json.loads(done.stderr)["error"]
            elif done.returncode != 0:
                raise RuntimeError(f"{name}: status {done.returncode}: {done.stderr.strip()}")
            elif name == "memory list":
                found = {m["id"]: m["content"] for m in json.loads(done.stdout)["memories"]}
                if found != self._written:
                    # Served, and wrong: the worst case, said plainly.
                    self.verify_detail = f"served {found} for {self._written}"
                    return True
        served = sorted(set(reads) - set(refused))
        self.verify_detail = "; ".join(f"{n}: {e['code']} {e['name']}" for n, e in refused.items())
        if refused and served:
            self.verify_detail += f"; but {', '.join(served)} answered"
        return bool(served)

    # --- the file, through sqlite3 ---------------------------------------

    def _sql(self, script) -> list[tuple]:
        """Runs `script(connection)` in one transaction of Python's sqlite3."""
        db = sqlite3.connect(self._db)
        try:
            with db:
                return script(db)
        finally:
            db.close()

    def _records(self, agent: str) -> list[Record]:
        rows = self._sql(lambda db: db.execute(f"SELECT {', '.join(COLUMNS)} FROM event ORDER BY pos").fetchall())
        found = []
        for row in rows:
            fields = dict(zip(COLUMNS, row))
            head = header(fields["leaf"])
            if head[2].startswith(self._agents[agent]) and head[7] == RECORD_PUT and self._is_memory(fields):
                found.append(Record(seq=len(found), fields=fields))
        return found

    def _is_memory(self, fields: dict) -> bool:
        # An identity's first record is its profile, right after its entry: the
        # one private event that its own key signs, in this fixture.
        return fields["leaf"][0] == 0x8C

    def read_all_raw(self) -> list[Record]:
        return self._records("first")

    def read_other_raw(self) -> list[Record]:
        return self._records("second")

    def _at(self, seq: int) -> dict:
        return self.read_all_raw()[seq].fields

    def _edit(self, statement: str, values=()) -> None:
        self._sql(lambda db: db.execute(statement, values))

    def write_raw(self, record: Record) -> None:
        fields = record.fields
        if record.seq < len(self.read_all_raw()):
            self._edit("UPDATE event SET leaf = ?, body = ?, subject = ?, secret = ? WHERE pos = ?",
                       (*(fields[c] for c in COLUMNS[1:]), self._at(record.seq)["pos"]))
        else:
            self._edit("INSERT INTO event SELECT max(pos) + 1, ?, ?, ?, ? FROM event", [fields[c] for c in COLUMNS[1:]])

    def delete_raw(self, seq: int) -> None:
        self._edit("DELETE FROM event WHERE pos = ?", (self._at(seq)["pos"],))

    def mutate_payload(self, record: Record) -> Record:
        # The first 32 bytes are the key commitment; what follows is the content.
        record.fields["body"] = flipped(record.fields["body"], 40)
        return record

    def replay_onto(self, victim_seq: int, donor: Record) -> None:
        self._edit("UPDATE event SET body = ?, subject = ?, secret = ? WHERE pos = ?",
                   (*(donor.fields[c] for c in COLUMNS[2:]), self._at(victim_seq)["pos"]))

    def read_meta(self, seq: int) -> dict:
        return {"time": header(self._at(seq)["leaf"])[6]}

    def write_meta(self, seq: int, meta: dict) -> None:
        """No column takes any name: an unknown one becomes another time of the event."""
        fields = self._at(seq)
        head = header(fields["leaf"])
        head[6] = meta["time"] + (1 if set(meta) - {"time"} else 0)
        self._edit("UPDATE event SET leaf = ? WHERE pos = ?", (_encoded(head), fields["pos"]))

    def snapshot_store(self) -> object:
        return self._copy_store(self._folder)

    def restore_store(self, token: object) -> None:
        self._restore_store(token, self._folder)
        shutil.rmtree(Path(token).parent)

    def identity_of(self, record: Record) -> str:
        return str(record.fields["pos"])

    def payload_of(self, record: Record) -> str:
        return record.fields["body"].hex()

    def owner_of(self, record: Record) -> str:
        return header(record.fields["leaf"])[2].hex()


class Repairing(Adapter):
    """Makes all that needs no key agree with the edit."""

    name = "mirrordna, unkeyed columns repaired"

    def forge_record(self, template: Record) -> Record:
        # Another text of the same length, under the secret of the last one.
        return self.mutate_payload(Record(seq=template.seq + 1, fields=dict(template.fields)))

    def read_meta(self, seq: int) -> dict:
        return {"subject": self._at(seq)["subject"]}

    def write_meta(self, seq: int, meta: dict) -> None:
        """The record of another person: whose key opens it."""
        if set(meta) - {"subject"}:
            self._edit("UPDATE event SET subject = (SELECT max(n) FROM subject WHERE n <> ?) WHERE pos = ?",
                       (meta["subject"], self._at(seq)["pos"]))

    def reload(self) -> None:
        """The edit is done when the tool starts the store again: repair it now."""
        self._sql(self._repair)

    def _repair(self, db: sqlite3.Connection) -> list[tuple]:
        rows = db.execute(f"SELECT {', '.join(COLUMNS)} FROM event ORDER BY pos").fetchall()
        hashes: list[bytes] = []
        chains: dict[bytes, tuple[int, bytes, int]] = {}
        renamed: dict[tuple[bytes, int], int] = {}
        db.execute("DELETE FROM event")
        for index, (_, leaf, body, subject, secret) in enumerate(rows):
            head = header(leaf)
            actor = head[2]
            aseq, prev, _ = chains.get(actor, (0, head[4], 0))
            renamed[actor, head[3]] = aseq
            if secret is not None:
                head[9], head[10] = hashlib.sha256(b"mdna.v1.body" + body).digest(), len(body) - 48
            head[3], head[4], head[5] = aseq, prev, renamed.get((actor, head[5]), head[5])
            head[6] = max(head[6], max((header(r[1])[6] for r in rows[:index]), default=0))
            old, at = leaf.index(b"\x8chmdna.ev1"), None
            at = _item(leaf, old)[1]
            new = _encoded(head)
            # Of a signed leaf the payload may change in length; its signature is kept.
            leaf = new if old == 0 else leaf[:old - 2] + _head(2, len(new)) + new + leaf[at:]
            hashes.append(leaf_hash(leaf))
            chains[actor] = (aseq + 1, hashes[-1], index)
            db.execute("INSERT INTO event VALUES(?, ?, ?, ?, ?)", (LOG + index, leaf, body, subject, secret))
        db.execute("UPDATE log SET size = ?, frontier = ?, time = ?",
                   (len(rows), frontier(hashes), max(header(r[1])[6] for r in rows)))
        db.execute("DELETE FROM head")
        db.executemany("INSERT INTO head VALUES(1, ?, ?)", [(actor, last) for actor, (_, _, last) in chains.items()])
        db.execute("DELETE FROM cache_segment")
        # The checkpoint is the one thing that only the log's key can make anew.
        return []
