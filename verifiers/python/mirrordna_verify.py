#!/usr/bin/env python3
"""Judge a mirrordna bundle: the second verifier, standard library only.

A bundle (*.mdna-bundle, *.mdna-proof) holds the history of an agent, or a
proof of some of its events. This program decides whether it was altered,
with nothing but the file and what its user trusts beforehand: the fingerprint
of the log's checkpoint key, or a policy. It uses no network, no clock and no
package from outside Python's standard library (3.9 or later), and shares no
code with the engine: it was written from spec/PROTOCOL.md, whose chapters the
comments name.

    python3 mirrordna_verify.py --key FINGERPRINT BUNDLE

The exit status is 0 for intact, 1 for altered, 3 for unproven, and 2 where
the arguments are wrong or the file is no bundle.
"""

import argparse
from array import array
import base64
import bisect
import hashlib
import hmac
import json
import os
import re
import struct
import sys
from datetime import datetime, timedelta, timezone

INTACT, ALTERED, UNPROVEN = "intact", "altered", "unproven"
EXIT = {INTACT: 0, ALTERED: 1, UNPROVEN: 3}

# Chapters 14 and 16.1.
MAX_FRAME = 2_097_152
MAX_LEAF = 36_000
MAX_REFS = 1_024
MAX_DID_LOG = 1_048_576
MAX_NOTE = 65_536
MAX_NOTE_LINES = 16
MAX_JSON_DEPTH = 128
MAX_PROOF = 63
MAX_KEYS = 64
MAX_IMPORTED = 256
MAX_LABEL = 512
MAX_PATH = 126
MAX_POLICY = 131_072
MAX_POLICY_LINES = 1_024
# Findings of a log beyond these are counted, not listed (9.2).
MAX_LISTED = 256

MAGIC = b"mirrordna bundle v1\n"
ZERO32 = bytes(32)

GENESIS, CLOSE, ANCHOR, ADOPT, LOG_KEY = 1, 2, 3, 6, 7
BRIDGE = 3  # of an anchor: it leads to another checkpoint key (7.4)
SEAL, EPOCH_OPEN, EPOCH_CLOSE, ENTRY = 8, 9, 10, 11
ERASE, ERASE_DONE, RECOVER, REVOKE = 12, 13, 14, 15
FIRST_PRIVATE = 16

KINDS = {
    1: "log.genesis", 2: "log.close", 3: "anchor", 4: "import.open", 5: "import", 6: "log.adopt", 7: "log.key", 8: "seal",
    9: "epoch.open", 10: "epoch.close", 11: "identity.entry", 12: "erase", 13: "erase.done",
    14: "identity.recover", 15: "epoch.revoke", 16: "record.put",
    17: "record.patch", 18: "record.archive", 19: "record.link", 20: "event", 21: "part",
}
MUST_SIGN = frozenset([GENESIS, CLOSE, ADOPT, LOG_KEY, SEAL, EPOCH_OPEN, EPOCH_CLOSE, ENTRY, ERASE, ERASE_DONE,
                       RECOVER, REVOKE])
# Kinds whose body is a DID log, and all kinds that bring a key.
WITH_DID = frozenset([GENESIS, ENTRY, RECOVER])
WITH_KEY = WITH_DID | {EPOCH_OPEN}
# Public bodies that a judge cannot do without (16.2): what names or ends keys, erasures, and the log before.
NOT_WITHHELD = WITH_KEY | {ERASE, ADOPT, REVOKE, LOG_KEY}


class Refused(Exception):
    """A structure is malformed; the message says how."""


class Usage(Exception):
    """The arguments, the policy or the file's first line are not acceptable."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


def sha256(data):
    return hashlib.sha256(data).digest()


# --- Ed25519 (1.3) ---------------------------------------------------------
#
# Everything here is public, so nothing needs to run in constant time.

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
D2 = 2 * D % P
SQRT_M1 = pow(2, (P - 1) // 4, P)

# The canonical encodings of the eight points of small order.
SMALL_ORDER = frozenset(bytes.fromhex(h) for h in (
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"))


def point_decode(data):
    """Affine (x, y) of a canonical encoding, else None (RFC 8032 section 5.1.3)."""
    y = int.from_bytes(data, "little")
    sign = y >> 255
    y &= (1 << 255) - 1
    if y >= P:
        return None
    y2 = y * y % P
    u, v = (y2 - 1) % P, (D * y2 + 1) % P
    v3 = v * v % P * v % P
    x = u * v3 % P * pow(u * v3 % P * v3 % P * v % P, (P - 5) // 8, P) % P
    check = v * x % P * x % P
    if check != u:
        if check != P - u:
            return None
        x = x * SQRT_M1 % P
    if x == 0 and sign:
        return None
    return (P - x if x & 1 != sign else x), y


def point_double(p):
    x, y, z, _ = p
    a, b = x * x % P, y * y % P
    h = a + b
    e = h - (x + y) * (x + y)
    g = a - b
    f = 2 * z * z + g
    return e * f % P, g * h % P, f * g % P, e * h % P


def point_add(p, q):
    x1, y1, z1, t1 = p
    x2, y2, z2, t2 = q
    a, b = (y1 - x1) * (y2 - x2) % P, (y1 + x1) * (y2 + x2) % P
    c, d = t1 * D2 % P * t2 % P, 2 * z1 * z2
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


NEUTRAL = (0, 1, 1, 0)


def point_multiply(scalar, p):
    """[scalar]p by windows of four bits."""
    table = [NEUTRAL, p]
    for _ in range(14):
        table.append(point_add(table[-1], p))
    out = NEUTRAL
    for shift in range((max(scalar.bit_length(), 1) - 1) // 4 * 4, -1, -4):
        if out is not NEUTRAL:
            out = point_double(point_double(point_double(point_double(out))))
        digit = scalar >> shift & 15
        if digit:
            out = point_add(out, table[digit])
    return out


def comb_table(p):
    """[d 16^i]p for d in 1..15 and i in 0..63, as (y + x, y - x, 2dxy)."""
    points = []
    for _ in range(64):
        q = p
        for _ in range(15):
            points.append(q)
            q = point_add(q, p)
        p = q
    # One inversion for all of them (Montgomery's trick).
    products, acc = [], 1
    for q in points:
        products.append(acc)
        acc = acc * q[2] % P
    inverse = pow(acc, P - 2, P)
    flat = [None] * len(points)
    for i in range(len(points) - 1, -1, -1):
        x, y, z, _ = points[i]
        zi = inverse * products[i] % P
        inverse = inverse * z % P
        x, y = x * zi % P, y * zi % P
        flat[i] = ((y + x) % P, (y - x) % P, D2 * x % P * y % P)
    return [[None] + flat[i:i + 15] for i in range(0, len(flat), 15)]


def comb_multiply(scalar, table, start):
    """start + [scalar]p for the p of a comb table; scalar < 2^256."""
    x, y, z, t = start
    for row in table:
        digit = scalar & 15
        scalar >>= 4
        if digit:
            plus, minus, xy2d = row[digit]
            a, b, c, d = (y - x) * minus, (y + x) * plus, t * xy2d, z + z
            e, f, g, h = (b - a) % P, (d - c) % P, (d + c) % P, (b + a) % P
            x, y, z, t = e * f % P, g * h % P, f * g % P, e * h % P
    return x, y, z, t


def point_encode(p):
    x, y, z, _ = p
    zi = pow(z, P - 2, P)
    x, y = x * zi % P, y * zi % P
    return (y | (x & 1) << 255).to_bytes(32, "little")


BASE = point_decode(b"\x58" + b"\x66" * 31)
BASE = (BASE[0], BASE[1], 1, BASE[0] * BASE[1] % P)
_base_table = []


def base_multiply(scalar):
    if not _base_table:
        _base_table.extend(comb_table(BASE))
    return comb_multiply(scalar, _base_table, NEUTRAL)


class PublicKey:
    """A registered Ed25519 key (1.3); register() makes them."""

    # A comb table costs as much as some verifications; it pays from here on.
    COMB_AFTER = 6
    __slots__ = ("data", "minus", "uses", "comb")

    def __init__(self, data, x, y):
        self.data = data
        x = (P - x) % P
        self.minus = (x, y, 1, x * y % P)
        self.uses = 0
        self.comb = None

    def verify(self, message, signature):
        """Strict verification: no cofactor, canonical S and R, no R of small order."""
        if len(signature) != 64:
            return False
        r, s = signature[:32], int.from_bytes(signature[32:], "little")
        if s >= L or r in SMALL_ORDER:
            return False
        k = int.from_bytes(hashlib.sha512(r + self.data + message).digest(), "little") % L
        self.uses += 1
        if self.comb is None and self.uses > self.COMB_AFTER:
            self.comb = comb_table(self.minus)
        base = base_multiply(s)
        if self.comb is None:
            point = point_add(base, point_multiply(k, self.minus))
        else:
            point = comb_multiply(k, self.comb, base)
        # The encoding of a point is canonical, so an R that is not differs.
        return point_encode(point) == r


_registered = {}


def register(data):
    """The PublicKey of 32 bytes, or None if they do not register (1.3)."""
    try:
        return _registered[data]
    except KeyError:
        pass
    key = None
    if len(data) == 32 and data not in SMALL_ORDER:
        affine = point_decode(data)
        if affine is not None:
            x, y = affine
            torsion = point_multiply(L, (x, y, 1, x * y % P))
            if torsion[0] == 0 and torsion[1] == torsion[2]:
                key = PublicKey(data, x, y)
    # A cache, not a list: a history may name any number of keys.
    if len(_registered) >= 512:
        _registered.clear()
    _registered[data] = key
    return key


# --- text forms of bytes (1.4) ----------------------------------------------

BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
BASE58_VALUE = {c: i for i, c in enumerate(BASE58)}


def base58_decode(text, size):
    """Exactly `size` bytes of base58btc."""
    if len(text) > size * 138 // 100 + 2:
        raise Refused("base58 text is too long")
    number = 0
    for c in text:
        try:
            number = number * 58 + BASE58_VALUE[c]
        except KeyError:
            raise Refused("a character is not of base58") from None
    zeros = len(text) - len(text.lstrip("1"))
    body = number.to_bytes((number.bit_length() + 7) // 8, "big")
    if zeros + len(body) != size:
        raise Refused("base58 text has another length")
    return bytes(zeros) + body


def base58_encode(data):
    number, out = int.from_bytes(data, "big"), ""
    while number:
        number, digit = divmod(number, 58)
        out = BASE58[digit] + out
    return "1" * (len(data) - len(data.lstrip(b"\0"))) + out


def multihash(digest):
    return base58_encode(b"\x12\x20" + digest)


def multihash_decode(text):
    data = base58_decode(text, 34)
    if data[:2] != b"\x12\x20":
        raise Refused("a multihash is not of SHA-256")
    return data[2:]


def multikey_decode(text):
    """The 32 bytes of a multikey that registers."""
    if text[:1] != "z":
        raise Refused("a multikey does not begin with z")
    data = base58_decode(text[1:], 34)
    if data[:2] != b"\xed\x01" or register(data[2:]) is None:
        raise Refused("a multikey is no acceptable Ed25519 key")
    return data[2:]


BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?\Z")


def base64_decode(text):
    if not BASE64.match(text):
        raise Refused("not base64")
    data = base64.b64decode(text)
    if base64.b64encode(data).decode() != text:
        raise Refused("base64 with unused bits set")
    return data


# --- deterministic CBOR (1.5) -------------------------------------------------

class Cbor:
    """A reader that takes one item after the other and refuses any other form."""

    __slots__ = ("data", "at", "end")

    def __init__(self, data, at=0):
        self.data, self.at, self.end = data, at, len(data)

    def head(self):
        """Major type and argument of the next item."""
        data, at = self.data, self.at
        if at >= self.end:
            raise Refused("CBOR ends early")
        first = data[at]
        major, info = first >> 5, first & 31
        at += 1
        if info < 24:
            self.at = at
            return major, info
        if info > 27:
            raise Refused("CBOR of indefinite or reserved length")
        size = 1 << (info - 24)
        if at + size > self.end:
            raise Refused("CBOR ends early")
        value = int.from_bytes(data[at:at + size], "big")
        if value < (24, 1 << 8, 1 << 16, 1 << 32)[info - 24]:
            raise Refused("CBOR argument not in its shortest form")
        self.at = at + size
        return major, value

    def expect(self, major):
        found, value = self.head()
        if found != major:
            raise Refused("CBOR of another type")
        return value

    def uint(self):
        return self.expect(0)

    def string(self, major, size=None):
        length = self.expect(major)
        start = self.at
        if length > self.end - start:
            raise Refused("CBOR string longer than the input")
        if size is not None and length != size:
            raise Refused("CBOR string of another length")
        self.at = start + length
        return self.data[start:self.at]

    def bytes(self, size=None):
        return self.string(2, size)

    def text(self):
        try:
            return self.string(3).decode("utf-8")
        except UnicodeDecodeError:
            raise Refused("CBOR text is not UTF-8") from None

    def array(self, size=None):
        count = self.expect(4)
        if count > self.end - self.at:
            raise Refused("CBOR array longer than the input")
        if size is not None and count != size:
            raise Refused("CBOR array of another length")
        return count

    def map(self):
        count = self.expect(5)
        if count > self.end - self.at:
            raise Refused("CBOR map longer than the input")
        return count

    def null(self):
        """Whether the next item is null; if so it is taken."""
        if self.at < self.end and self.data[self.at] == 0xF6:
            self.at += 1
            return True
        return False

    def peek(self):
        """Major type of the next item."""
        if self.at >= self.end:
            raise Refused("CBOR ends early")
        return self.data[self.at] >> 5

    def done(self):
        if self.at != self.end:
            raise Refused("bytes after the CBOR item")


# --- strict canonical JSON (1.6) ------------------------------------------------

JSON_STRING = re.compile(
    r'"((?:[^"\\\x00-\x1f]|\\["\\bfnrt]|\\u00(?:0[0-7bef]|1[0-9a-f]))*)"')
JSON_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]*)(?![0-9.eE])")
JSON_WORD = {"t": ("true", True), "f": ("false", False), "n": ("null", None)}


class Node:
    """A JSON value: its type, content and original text."""

    __slots__ = ("type", "value", "start", "end")

    def __init__(self, kind, value, start, end):
        self.type, self.value, self.start, self.end = kind, value, start, end


def json_node(text, at, depth):
    """The value that begins at `at`. Objects become dicts of plain nodes.

    An object is (dict of nodes, True if no key has an escape).
    """
    c = text[at:at + 1]
    if c == '"':
        match = JSON_STRING.match(text, at)
        if not match:
            raise Refused("a JSON string is malformed or not canonical")
        return Node("string", match.group(1), at, match.end())
    if c in ("{", "["):
        if depth >= MAX_JSON_DEPTH:
            raise Refused("JSON is nested too deep")
        return (json_object if c == "{" else json_array)(text, at, depth + 1)
    if c in JSON_WORD:
        word, value = JSON_WORD[c]
        if not text.startswith(word, at):
            raise Refused("not JSON")
        return Node("word", value, at, at + len(word))
    match = JSON_INTEGER.match(text, at)
    # 2^53 has 16 digits.
    if not match or match.group() == "-0" or len(match.group()) > 17 or abs(int(match.group())) >= 2**53:
        raise Refused("JSON with a number or character that is not canonical")
    return Node("number", int(match.group()), at, match.end())


def json_object(text, start, depth):
    members, plain, last, at = {}, True, None, start + 1
    if text[at:at + 1] == "}":
        return Node("object", (members, plain), start, at + 1)
    while True:
        match = JSON_STRING.match(text, at)
        if not match or text[match.end():match.end() + 1] != ":":
            raise Refused("a JSON object is malformed")
        raw = match.group(1)
        if not raw.isascii():
            raise Refused("a JSON key is not ASCII")
        key = raw
        if "\\" in raw:
            plain, key = False, json.loads('"' + raw + '"')
        if last is not None and key <= last:
            raise Refused("JSON keys are out of order or twice")
        last = key
        node = json_node(text, match.end() + 1, depth)
        # A key with an escape keeps it, so that no name read here equals it.
        members[raw] = node
        at = node.end
        c = text[at:at + 1]
        if c == "}":
            return Node("object", (members, plain), start, at + 1)
        if c != ",":
            raise Refused("a JSON object is malformed")
        at += 1


def json_array(text, start, depth):
    items, at = [], start + 1
    if text[at:at + 1] == "]":
        return Node("array", items, start, at + 1)
    while True:
        node = json_node(text, at, depth)
        items.append(node)
        at = node.end
        c = text[at:at + 1]
        if c == "]":
            return Node("array", items, start, at + 1)
        if c != ",":
            raise Refused("a JSON array is malformed")
        at += 1


def json_parse(data):
    """(text, node) of a whole text in the form of 1.6."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise Refused("JSON is not UTF-8") from None
    node = json_node(text, 0, 0)
    if node.end != len(text):
        raise Refused("text after the JSON value")
    return text, node


def plain_string(node):
    """Content of a string that needs no escape."""
    if node is None or node.type != "string" or "\\" in node.value:
        raise Refused("a plain string is missing")
    return node.value


def json_members(node):
    if node is None or node.type != "object":
        raise Refused("an object is missing")
    return node.value[0]


def json_items(node):
    if node is None or node.type != "array":
        raise Refused("a list is missing")
    return node.value


def json_without(text, node, name, replaced=None):
    """An object's text without one member; `replaced` = (key, new raw value)."""
    parts = []
    for key, value in node.value[0].items():
        if key != name:
            raw = replaced[1] if replaced and key == replaced[0] else text[value.start:value.end]
            parts.append('"%s":%s' % (key, raw))
    return ("{" + ",".join(parts) + "}").encode("utf-8")


# --- DID logs (2) ---------------------------------------------------------------

DID = re.compile(r"did:webvh:(Qm[1-9A-HJ-NP-Za-km-z]{44}):local\.invalid:(agt|usr|sys)\Z")
DID_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z\Z")
LINE_MEMBERS = ["parameters", "proof", "state", "versionId", "versionTime"]
PARAMETERS = frozenset(["deactivated", "method", "nextKeyHashes", "portable", "scid", "updateKeys"])


class Identity:
    """What a verified DID log says."""

    __slots__ = ("lines", "scid", "label", "digest", "keys", "next_hashes", "version_id", "time", "deactivated")

    def __init__(self):
        self.lines = []  # SHA-256 of each line without its newline
        self.scid = self.label = self.digest = self.version_id = None
        self.keys, self.next_hashes, self.time, self.deactivated = [], frozenset(), "", False

    def copy(self):
        other = Identity()
        for name in self.__slots__:
            setattr(other, name, getattr(self, name))
        other.lines = list(self.lines)
        return other


def read_identity(data, known=None):
    """Verify a whole DID log; lines that `known` begins with are not judged again."""
    if len(data) > MAX_DID_LOG:
        raise Refused("the DID log is too long")
    if not data.endswith(b"\n"):
        raise Refused("the DID log does not end with a newline")
    lines = data[:-1].split(b"\n")
    identity = Identity()
    if known and len(known.lines) <= len(lines) \
            and all(sha256(line) == digest for line, digest in zip(lines, known.lines)):
        identity = known.copy()
    for line in lines[len(identity.lines):]:
        read_version(identity, line)
        identity.lines.append(sha256(line))
    return identity


# The three digests of a version, over its text as it stands (2.3, 2.4).

def scid_of(text, root, scid):
    unsigned = json_without(text, root, "proof", ("versionId", '"{SCID}"'))
    return multihash(sha256(unsigned.replace(scid.encode(), b"{SCID}")))


def entry_hash(text, root, before):
    return multihash(sha256(json_without(text, root, "proof", ("versionId", '"%s"' % before))))


def proof_message(text, root, proof):
    return sha256(json_without(text, proof, "proofValue")) + sha256(json_without(text, root, "proof"))


def read_version(identity, line):
    """Add one line of a DID log to what the lines before it say."""
    first = not identity.lines
    if identity.deactivated:
        raise Refused("a version follows the one that ended the identity")
    text, root = json_parse(line)
    members = json_members(root)
    if list(members) != LINE_MEMBERS:
        raise Refused("a version has other members")
    version_id, time = plain_string(members["versionId"]), plain_string(members["versionTime"])
    if not DID_TIME.match(time) or time <= identity.time:
        raise Refused("versionTime is malformed or not later")

    state = json_members(members["state"])
    match = DID.match(plain_string(state.get("id")))
    if not match:
        raise Refused("state.id is not of the form of this protocol")
    scid, label = match.groups()
    digest = multihash_decode(scid)
    if not first and (scid, label) != (identity.scid, identity.label):
        raise Refused("SCID or label differ between versions")
    methods = json_items(state.get("verificationMethod"))
    if len(methods) > MAX_KEYS:
        raise Refused("more than 64 verification methods")
    keys = [multikey_decode(plain_string(json_members(method).get("publicKeyMultibase"))) for method in methods]

    parameters = json_members(members["parameters"])
    if not PARAMETERS.issuperset(parameters):
        raise Refused("an unknown parameter")
    for name, value in (("method", "did:webvh:1.0"), ("scid", scid)):
        if first or name in parameters:
            if plain_string(parameters.get(name)) != value:
                raise Refused("parameter %s has another value" % name)
    deactivated = "deactivated" in parameters
    if deactivated and (first or parameters["deactivated"].value is not True):
        raise Refused("parameter deactivated is not true, or in the first version")
    update_keys = {}
    for node in json_items(parameters.get("updateKeys")):
        key = plain_string(node)
        update_keys[key] = multikey_decode(key)
        if not first and multihash(sha256(key.encode())) not in identity.next_hashes:
            raise Refused("an update key was not committed to")
    if max(len(json_items(parameters.get(name))) for name in ("updateKeys", "nextKeyHashes")) > MAX_KEYS:
        raise Refused("more than 64 keys of a sort")
    next_hashes = frozenset(plain_string(node) for node in json_items(parameters.get("nextKeyHashes")))
    if bool(next_hashes) == deactivated:
        raise Refused("nextKeyHashes is empty, or is not where the identity ends")

    if first and scid_of(text, root, scid) != scid:
        raise Refused("the SCID is not that of the first version")
    before = scid if first else identity.version_id
    if version_id != "%d-%s" % (len(identity.lines) + 1, entry_hash(text, root, before)):
        raise Refused("versionId has another number or entry hash")

    proofs = json_items(members["proof"])
    if len(proofs) != 1:
        raise Refused("not exactly one proof")
    proof = json_members(proofs[0])
    if not proofs[0].value[1]:
        raise Refused("a key of the proof is written with an escape")
    for name, value in (("type", "DataIntegrityProof"), ("cryptosuite", "eddsa-jcs-2022"),
                        ("proofPurpose", "assertionMethod")):
        if plain_string(proof.get(name)) != value:
            raise Refused("%s of the proof has another value" % name)
    method = plain_string(proof.get("verificationMethod"))
    signer = next((k for k in update_keys if method == "did:key:%s#%s" % (k, k)), None)
    if signer is None:
        raise Refused("the proof names no update key of its version")
    value = plain_string(proof.get("proofValue"))
    if value[:1] != "z":
        raise Refused("proofValue is not of base58")
    if not register(update_keys[signer]).verify(proof_message(text, root, proofs[0]), base58_decode(value[1:], 64)):
        raise Refused("the proof's signature is wrong")

    identity.scid, identity.label, identity.digest = scid, label, digest
    identity.keys, identity.next_hashes = keys, next_hashes
    identity.version_id, identity.time, identity.deactivated = version_id, time, deactivated


# --- headers, leaves, public bodies (3, 4, 6.1) -----------------------------------

HEADER_START = b"\x8c\x68mdna.ev1\x50"
SIGNED_START = b"\xd2\x84\x4d\xa2\x01\x32\x04\x48"


class Leaf:
    """A decoded leaf: the header's fields, and the signature if there is one."""

    __slots__ = ("log", "actor", "aseq", "prev", "signer", "time", "kind", "session", "body", "length", "refs",
                 "key_id", "signature", "signed_bytes", "hash")


def read_header(leaf, data):
    if data[:11] != HEADER_START:
        raise Refused("not a header of this version")
    leaf.log = data[11:27]
    cbor = Cbor(data, 27)
    leaf.actor = cbor.bytes(32)
    leaf.aseq = cbor.uint()
    leaf.prev = cbor.bytes(32)
    leaf.signer = cbor.uint()
    leaf.time = cbor.uint()
    leaf.kind = cbor.uint()
    leaf.session = cbor.bytes(16)
    leaf.body = cbor.bytes(32)
    leaf.length = cbor.uint()
    count = cbor.array()
    if count > MAX_REFS:
        raise Refused("more references than a header may have")
    leaf.refs = [cbor.bytes(32) for _ in range(count)]
    cbor.done()
    if leaf.signer > leaf.aseq:
        raise Refused("field 5 names a later event")


def read_leaf(data):
    """Decode leaf data (4)."""
    if len(data) > MAX_LEAF:
        raise Refused("the leaf is too long")
    leaf = Leaf()
    leaf.key_id = leaf.signature = leaf.signed_bytes = None
    if data[:1] == b"\x8c":
        read_header(leaf, data)
    elif data[:8] == SIGNED_START and data[16:17] == b"\xa0":
        cbor = Cbor(data, 17)
        payload = cbor.bytes()
        end = cbor.at
        leaf.signature = cbor.bytes(64)
        cbor.done()
        leaf.key_id = data[8:16]
        read_header(leaf, payload)
        # The Sig_structure (RFC 9052 section 4.4) takes the payload as it stands in the leaf, head included.
        leaf.signed_bytes = b"\x84\x6aSignature1" + data[2:16] + b"\x4cmdna.seal.v1" + data[17:end]
    else:
        raise Refused("neither a header nor a COSE_Sign1 of the one shape")
    return leaf


def leaf_hash(data):
    return hashlib.sha256(b"\0" + data).digest()


# Templates of public bodies: sizes stand for byte strings, None for one of any length, tags for one of 16 bytes a tag.
TEMPLATES = {
    1: (None, 32, 16, 32), ANCHOR: ("uint", None, None), 4: (32, "uint", "uint"),
    5: (32, "uint", "uint", "uint", "uint"), ADOPT: (16, "uint", 32, "uint"), LOG_KEY: (32,),
    EPOCH_OPEN: (32, "uint", "uint", 64, "list"), EPOCH_CLOSE: (), ENTRY: (None,),
    ERASE: ("uint", "uint", "list", "tags", "tags", "tags"), ERASE_DONE: ("uint", "list"),
    RECOVER: (None, "uint"), REVOKE: ("uint", "uint"),
}


def read_public(kind, data):
    """The fields of a public body from 1 on; [] where the kind has no template."""
    cbor = Cbor(data)
    pairs = cbor.map()
    if pairs < 1 or cbor.uint() != 0 or cbor.uint() != 1:
        raise Refused("a public body does not begin with schema 1")
    template = TEMPLATES.get(kind)
    if template is None:
        return []
    if pairs != len(template) + 1:
        raise Refused("a public body has other fields")
    fields = []
    for number, form in enumerate(template, 1):
        if cbor.uint() != number:
            raise Refused("a public body has other fields")
        if form == "uint":
            fields.append(cbor.uint())
        elif form == "list":
            fields.append([cbor.uint() for _ in range(cbor.array())])
        elif form == "tags":
            fields.append(cbor.bytes())
            if len(fields[-1]) % 16:
                raise Refused("a tag of another length")
        else:
            fields.append(cbor.bytes(form))
    cbor.done()
    return fields


def commitment(kind, stored):
    label = b"mdna.v1.public" if kind < FIRST_PRIVATE else b"mdna.v1.body"
    return sha256(label + stored)


def hkdf(secret, info):
    """HKDF-Expand of 32 bytes (1.2)."""
    return hmac.new(secret, info + b"\x01", hashlib.sha256).digest()


AES_LABEL, XCHACHA_LABEL = b"mdna.v1.commit", b"mdna.v1.commit.xchacha"


def opens(secret, row):
    """Whether a row begins with the commitment of a disclosed secret (6.3)."""
    return row[:32] in (hkdf(secret, AES_LABEL), hkdf(secret, XCHACHA_LABEL))


# --- the tree and its proofs (7.1) --------------------------------------------------

def node_hash(left, right):
    return hashlib.sha256(b"\x01" + left + right).digest()


class Tree:
    """A Merkle tree that only grows: its frontier."""

    __slots__ = ("size", "frontier")

    def __init__(self):
        self.size, self.frontier = 0, []

    def append(self, value):
        n, frontier = self.size, self.frontier
        while n & 1:
            value = node_hash(frontier.pop(), value)
            n >>= 1
        frontier.append(value)
        self.size += 1

    def root(self):
        if not self.frontier:
            return sha256(b"")
        acc = self.frontier[-1]
        for left in reversed(self.frontier[:-1]):
            acc = node_hash(left, acc)
        return acc


def inclusion_holds(index, size, leaf, path, root):
    """RFC 9162 section 2.1.3.2."""
    if index >= size or len(path) > MAX_PROOF:
        return False
    fn, sn, acc = index, size - 1, leaf
    for p in path:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            acc = node_hash(p, acc)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            acc = node_hash(acc, p)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and acc == root


def consistency_holds(first, second, path, first_root, second_root):
    """RFC 9162 section 2.1.4.2, with the empty proofs of 7.1."""
    if first > second or len(path) > MAX_PROOF:
        return False
    if first == 0:
        return not path and first_root == sha256(b"")
    if first == second:
        return not path and first_root == second_root
    if not path:
        return False
    path = list(path)
    if first & (first - 1) == 0:
        path.insert(0, first_root)
    fn, sn = first - 1, second - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    fr = sr = path[0]
    for c in path[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            fr, sr = node_hash(c, fr), node_hash(c, sr)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            sr = node_hash(sr, c)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and fr == first_root and sr == second_root


def hashes(data):
    """A proof's bytes as a list of hashes, or None if they are none."""
    if len(data) % 32:
        return None
    return [data[i:i + 32] for i in range(0, len(data), 32)]


# --- signed notes, checkpoints, cosignatures (7.3, 17.2) ------------------------------

class Note:
    """A signed note: its text, and the signature lines as (name, key id, data)."""

    __slots__ = ("text", "lines", "origin", "size", "root")


CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f]")
SIZE = re.compile(r"(?:0|[1-9][0-9]{0,19})\Z")


def bad_name(name):
    return not name or "+" in name or any(c.isspace() for c in name)


def read_note(data):
    if len(data) > MAX_NOTE:
        raise Refused("the note is too long")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise Refused("the note is not UTF-8") from None
    if CONTROL.search(text) or not text.endswith("\n"):
        raise Refused("the note has control characters or no newline at its end")
    split = text.rfind("\n\n")
    if split < 0:
        raise Refused("the note has no signatures")
    note = Note()
    note.text, note.lines = text[:split + 1], []
    lines = text[split + 2:-1].split("\n")
    if not 1 <= len(lines) <= MAX_NOTE_LINES:
        raise Refused("the note has no or too many signatures")
    for line in lines:
        name, space, rest = line[2:].partition(" ")
        if line[:2] != "\u2014 " or not space or bad_name(name):
            raise Refused("a signature line is malformed")
        raw = base64_decode(rest)
        if len(raw) < 5:
            raise Refused("a signature is too short")
        note.lines.append((name, raw[:4], raw[4:]))
    note.origin = note.size = note.root = None
    return note


def read_checkpoint(data):
    note = read_note(data)
    lines = note.text[:-1].split("\n")
    if len(lines) < 3 or not all(lines):
        raise Refused("a checkpoint has too few lines or an empty one")
    if not SIZE.match(lines[1]) or int(lines[1]) >= 2**64:
        raise Refused("the size of a checkpoint is malformed")
    note.origin, note.size, note.root = lines[0], int(lines[1]), base64_decode(lines[2])
    if len(note.root) != 32:
        raise Refused("the root of a checkpoint has not 32 bytes")
    return note


def note_key_id(name, kind, key):
    return sha256(name.encode("utf-8") + b"\n" + bytes([kind]) + key)[:4]


def signed_by(note, name, key):
    """Whether the first line with this name and key id is valid (7.3 rule 4)."""
    wanted = note_key_id(name, 1, key)
    for line_name, key_id, data in note.lines:
        if line_name == name and key_id == wanted:
            public = register(key)
            return public is not None and public.verify(note.text.encode("utf-8"), data)
    return False


def origin_of(log):
    return "local.invalid/log/" + log.hex()


# --- policies (17.1) ----------------------------------------------------------------

class Policy:
    """Whom an auditor trusts: log keys, witnesses, and how many of these are asked for."""

    def __init__(self):
        self.fingerprints = set()
        self.logs = set()      # (origin, key)
        self.witnesses = []    # (name, key name, key id, key)
        self.groups = []       # (name, k, members), each after its members
        self.quorum = None

    def trusts(self, log, key):
        return hashlib.sha256(key).hexdigest() in self.fingerprints or (origin_of(log), key) in self.logs

    def satisfied(self, names):
        """Whether cosignatures of these witnesses are a quorum."""
        if self.quorum is None:
            return bool(names)
        have = set(names)
        for name, k, members in self.groups:
            if sum(member in have for member in members) >= k:
                have.add(name)
        return self.quorum in have

    def cosignatures(self, note):
        """([(witness, seconds)], [what does not verify]) of a checkpoint's lines (17.2)."""
        valid, wrong = [], []
        for line_name, line_id, data in note.lines:
            for name, key_name, key_id, key in self.witnesses:
                if line_name != key_name or line_id != key_id:
                    continue
                seconds = int.from_bytes(data[:8], "big")
                message = ("cosignature/v1\ntime %d\n%s" % (seconds, note.text)).encode("utf-8")
                if len(data) == 72 and register(key).verify(message, data[8:]):
                    valid.append((name, seconds))
                else:
                    wrong.append(name)
        return valid, wrong

    def not_after(self, cosignatures):
        """The earliest time by which a quorum had signed, in ms, or None."""
        names = []
        for name, seconds in sorted(cosignatures, key=lambda c: c[1]):
            names.append(name)
            if self.satisfied(names):
                return seconds * 1000
        return None

    def not_before(self, cosignatures):
        """The latest time from which on a quorum signed, in ms, or None."""
        names = []
        for name, seconds in sorted(cosignatures, key=lambda c: -c[1]):
            names.append(name)
            if self.satisfied(names):
                return seconds * 1000
        return None


HEX64 = re.compile(r"[0-9a-f]{64}\Z")


def read_vkey(text, kind):
    """(key name, key id, key) of a verifier key of the given type."""
    parts = text.split("+", 2)
    if len(parts) != 3 or bad_name(parts[0]) or not re.match(r"[0-9a-f]{8}\Z", parts[1]):
        raise Refused("a verifier key is malformed")
    raw = base64_decode(parts[2])
    if raw[:1] == b"\x06":
        raise Refused("a verifier key is of type 6 (ML-DSA-44), which this verifier cannot check")
    if len(raw) != 33 or raw[0] != kind:
        raise Refused("a verifier key has another type or length")
    key_id = note_key_id(parts[0], kind, raw[1:])
    if key_id.hex() != parts[1]:
        raise Refused("the id of a verifier key is not that of its key")
    if register(raw[1:]) is None:
        raise Refused("a verifier key is no acceptable Ed25519 key")
    return parts[0], key_id, raw[1:]


def read_policy(data):
    policy, names, used, number = Policy(), set(), set(), 0
    keys = {"log": set(), "witness": set()}
    quorum = False

    def new_key(sort, text, kind):
        vkey = read_vkey(text, kind)
        if vkey[2] in keys[sort]:
            raise Refused("a key stands twice")
        keys[sort].add(vkey[2])
        return vkey

    def new_name(name):
        if name in names or name == "none":
            raise Refused("a name stands twice or is reserved")
        names.add(name)
        return name

    try:
        if len(data) > MAX_POLICY or data[:-1].count(b"\n") >= MAX_POLICY_LINES:
            raise Refused("the policy is too long")
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            raise Refused("the policy is not UTF-8") from None
        for number, line in enumerate(text.split("\n"), 1):
            if re.search("[\x00-\x08\x0b-\x1f\x7f]", line):
                raise Refused("a control character")
            fields = [f for f in re.split("[ \t]+", line) if f]
            if not fields or fields[0].startswith("#"):
                continue
            word = fields[0]
            if word == "log" and len(fields) in (2, 3):
                name, _, key = new_key("log", fields[1], 1)
                policy.logs.add((name, key))
            elif word == "witness" and len(fields) in (3, 4):
                policy.witnesses.append((new_name(fields[1]),) + new_key("witness", fields[2], 4))
            elif word == "group" and len(fields) >= 4:
                members = fields[3:]
                for member in members:
                    if member not in names or member in used:
                        raise Refused("a member is not defined, or used twice")
                    used.add(member)
                if fields[2] in ("any", "all"):
                    k = 1 if fields[2] == "any" else len(members)
                elif re.match(r"[1-9][0-9]{0,4}\Z", fields[2]) and int(fields[2]) <= len(members):
                    k = int(fields[2])
                else:
                    raise Refused("the number of a group is not from 1 to its members")
                policy.groups.append((new_name(fields[1]), k, members))
            elif word == "quorum" and len(fields) == 2 and not quorum:
                quorum = True
                if fields[1] != "none":
                    if fields[1] not in names:
                        raise Refused("the quorum is not defined")
                    policy.quorum = fields[1]
            elif len(fields) == 1 and HEX64.match(word):
                policy.fingerprints.add(word)
            else:
                raise Refused("a line of another form")
    except Refused as reason:
        raise Usage("policy.invalid", "line %d of the policy: %s" % (max(number, 1), reason)) from None
    return policy


# --- judging a section (9.1, 16.2, 16.3) ------------------------------------------------

class Trail:
    """Which events of an actor were spoken for by which signer, in runs, for disputes (5.5)."""

    __slots__ = ("aseqs", "leaves", "counts", "signers")

    def __init__(self):
        self.aseqs, self.leaves, self.counts, self.signers = array("Q"), array("Q"), array("Q"), array("Q")

    def add(self, aseq, leaf, signer):
        if self.counts:
            n = self.counts[-1]
            if (self.aseqs[-1] + n, self.leaves[-1] + n, self.signers[-1]) == (aseq, leaf, signer):
                self.counts[-1] = n + 1
                return
        self.aseqs.append(aseq)
        self.leaves.append(leaf)
        self.counts.append(1)
        self.signers.append(signer)

    def after(self, trusted, end, signer):
        """(aseq, leaf) of the first and last event after `trusted` and before `end`, and how many there are."""
        first = last = None
        count = 0
        for i in range(len(self.aseqs) - 1, -1, -1):
            start, n = self.aseqs[i], self.counts[i]
            if start + n <= trusted + 1:
                break
            low, high = max(start, trusted + 1), min(start + n, end)
            if low >= high or signer is not None and self.signers[i] != signer:
                continue
            shift = self.leaves[i] - start
            first = low, low + shift
            last = last or (high - 1, high - 1 + shift)
            count += high - low
        return first, last, count


# What stands in a table of signers for one that ended: an epoch, or an actor key.
ENDED_EPOCH, ENDED_KEY = "ended epoch", "ended key"
ENDED = (ENDED_EPOCH, ENDED_KEY)


class Actor:
    """The chain of one actor as far as it was seen."""

    __slots__ = ("identity", "aseq", "last", "signers", "pending",
                 "ended", "trail", "asked", "gaps", "starts", "ends", "back", "bringers", "unproven")

    def __init__(self):
        self.identity = None
        self.aseq = None   # of the last event; in a whole section the walk expects the next one
        self.last = None   # its leaf hash
        # aseq -> (key, key id, last valid time or None, whether an epoch, whether a rotation
        # left it nothing but a last seal), or one of ENDED
        self.signers = {}
        self.pending = {}  # signer -> events asked for that have no later signature
        self.ended = False  # whether its identity was deactivated
        self.trail = Trail()
        # Of a part only: what was shown.
        self.asked = False
        self.gaps = []
        self.starts, self.ends, self.back = [], [], set()
        self.bringers = set()
        self.unproven = None  # index of the last event, where it came without a path

    def shown(self, aseq):
        at = bisect.bisect_right(self.starts, aseq) - 1
        return at >= 0 and aseq <= self.ends[at] or aseq in self.back


REVOKED = "identity.revoked", "The identity had ended: nobody writes as it any more."


class LogKeys:
    """The keys of a log's checkpoints, each from a size on (7.4)."""

    def __init__(self, first):
        self.keys = [(1, first)]
        self.waiting = None  # (leaf, key): brought, and not bridged to

    def number(self, size):
        """Which key is in force at a size."""
        return max((n for n, (since, _) in enumerate(self.keys) if since <= size), default=0)

    def sign(self, note):
        """Whether a checkpoint is signed as one of its size must be."""
        asked = [self.keys[self.number(note.size)][1]]
        asked += [key for since, key in self.keys[1:] if since == note.size + 1]
        if self.waiting is not None and self.waiting[0] == note.size - 1:
            asked.append(self.waiting[1])
        return all(signed_by(note, note.origin, key) for key in asked)

    def bring(self, index, key):
        new = register(key) is not None and all(key != known for _, known in self.keys)
        self.waiting = (index, key) if new else None
        return new

    def bridge(self, index, note, root):
        """The anchor at an index holds this note; root is that of the tree before it."""
        if index != self.waiting[0] + 1 or (note.size, note.root) != (index, root) or not self.sign(note):
            return False
        self.keys.append((index + 1, self.waiting[1]))
        self.waiting = None
        return True

    def trusted(self, size, trusts):
        """Whether trust in some key extends to a checkpoint of this size."""
        return any(trusts(key) for _, key in self.keys[:self.number(size) + 1])


class Section:
    """One log of a bundle: what both scopes have in common."""

    scope = None

    def __init__(self, log, checkpoint, label, policy, kept):
        self.log, self.label, self.policy = log, label, policy
        self.name = "log " + log.hex()
        self.kept = [note for note in kept if note.origin == origin_of(log)]
        self.problems, self.found = [], 0
        self.note = checkpoint
        self.further = []       # (note, proof)
        self.ascends = -1       # size of the last further checkpoint
        self.own_valid = False
        self.confirmed = {}     # size -> root of checkpoints that hold
        self.cosigners = {}     # (size, root) -> [(witness, seconds)] of all checkpoints with them, kept ones too
        self.after, self.before = [], []  # (size, ms) and (leaf, ms): the proven bounds
        self.quorum = self.witnessed = None  # whether the checkpoint has the quorum, and up to which size one has it
        self.keys = self.system = self.database = self.tenant = None
        self.actors = {}
        self.time = 0
        self.events = 0
        self.present = self.disclosed = self.withheld = self.erased = self.missing = 0
        self.absent = {}        # leaf hash -> indexes of private events without a stored body
        self.erasures = set()   # refs of erase events
        self.adopted = None     # (log, size, root)
        self.imported = []      # the same of logs of other databases that were brought in
        self.unsigned = self.unattributed = 0
        self.links = []
        self.disputed, self.disputes = [], 0
        self.freshness = "unproven"
        # The file is malformed from somewhere in this section on: what its end would show is no finding (16.4).
        self.cut = False
        self.verdict = None

    def problem(self, code, message, index=None):
        self.found += 1
        if len(self.problems) < MAX_LISTED:
            where = self.name if index is None else "%s leaf %d" % (self.name, index)
            self.problems.append({"code": code, "where": where, "message": message})

    def named(self, note):
        """Whether a checkpoint names this log, whose genesis was read; a finding if not."""
        if note.origin != origin_of(self.log):
            self.problem("checkpoint.invalid", "A checkpoint of another log, %s." % quoted(note.origin))
        elif self.keys is None:
            self.problem("checkpoint.invalid", "The log has no key for its checkpoints.")
        else:
            return True
        return False

    def signed(self, note):
        """Whether a checkpoint of this log is signed as 7.4 asks at its size; a finding if not."""
        if self.keys.sign(note):
            return True
        self.problem("checkpoint.invalid",
                     "The checkpoint at size %d is not signed by the log's key at that size." % note.size)
        return False

    def cosigned(self, note, index=None):
        valid, wrong = self.policy.cosignatures(note)
        for name in wrong:
            self.problem("cosignature.invalid", "The cosignature of witness %s does not verify." % quoted(name), index)
        return valid

    def confirm(self, note):
        """A checkpoint holds."""
        self.confirmed[note.size] = note.root

    def weigh(self, note):
        """Judge the cosignatures of one of the section's checkpoints."""
        self.cosigners.setdefault((note.size, note.root), []).extend(self.cosigned(note))

    def weigh_kept(self):
        """Count the cosignatures of kept checkpoints; a wrong one in the auditor's own file is no finding."""
        for note in self.kept:
            self.cosigners.setdefault((note.size, note.root), []).extend(self.policy.cosignatures(note)[0])

    def weighed(self, heir):
        """Sum up what witnesses prove of the leaves below each confirmed size, and the quorum (16.4)."""
        self.weigh_kept()
        for size, root in sorted(self.confirmed.items()):
            ms = self.policy.not_after(self.cosigners.get((size, root), []))
            if ms is not None:
                self.after.append((size, ms))
        if self.policy.quorum is not None:
            own = self.cosigners.get((self.note.size, self.note.root), [])
            self.quorum = heir or self.policy.satisfied([name for name, _ in own])
            self.witnessed = max([self.note.size if heir else 0] + [size for size, _ in self.after])

    # -- bodies: steps 5 and 6 of 9.1, with 16.2

    def body(self, index, leaf, value, body, secret, asked=True):
        """Account for a body. The fields of a public one that was read, else None.

        Of an event that only supports others nothing is said about a private body that is not there.
        """
        public = leaf.kind < FIRST_PRIVATE
        length = leaf.length if public else leaf.length + 48
        fields, held = None, False
        if isinstance(body, int) and not (public and leaf.kind in NOT_WITHHELD):
            if leaf.body == ZERO32 or leaf.kind == SEAL or body != length:
                self.problem("body.altered", "A withheld body has another length or should not be there.", index)
            else:
                self.withheld += 1
        elif leaf.body == ZERO32:
            if body is not None or leaf.length or public and leaf.kind != SEAL:
                self.problem("body.altered", "The event commits to no body, but has one or should have.", index)
        elif not isinstance(body, bytes):
            if public:
                self.missing += 1
                self.problem("body.missing", "The public body of this %s is not there." % kind_name(leaf.kind), index)
            elif asked:
                self.absent.setdefault(value, []).append(index)
        elif leaf.kind == SEAL or len(body) != length or commitment(leaf.kind, body) != leaf.body:
            self.problem("body.altered", "The stored body is not the one that the event commits to.", index)
        else:
            held = True
            self.present += 1
            if public:
                try:
                    fields = read_public(leaf.kind, body)
                except Refused as reason:
                    self.problem("body.malformed", "The body is not of its kind's template: %s." % reason, index)
        if secret is not None:
            if public or not isinstance(body, bytes) or not opens(secret, body):
                self.problem("secret.altered", "The disclosed secret does not belong to a stored private body.", index)
            elif held:
                self.disclosed += 1
        return fields

    # -- keys: steps 7 a and d of 9.1. Each returns a finding (code, message) or None

    def identify(self, actor, leaf, fields):
        """(identity, finding) of a DID log that a genesis or an entry brings."""
        known = actor.identity if actor else None
        begins = actor is None or leaf.aseq == 0
        try:
            identity = read_identity(fields[0], known)
        except Refused as reason:
            return None, ("identity.invalid", "The DID log is not acceptable: %s." % reason)
        if identity.digest != leaf.actor:
            return None, ("identity.invalid", "The DID log is that of another identity.")
        if (identity.label == "sys") != (leaf.kind == GENESIS):
            return None, ("identity.invalid", "A genesis is by a system identity, and nothing else brings one.")
        if actor and actor.ended or begins and identity.deactivated:
            return None, REVOKED
        if not identity.keys:
            return None, ("identity.invalid", "The newest version of the identity has no key.")
        if known and (len(identity.lines) <= len(known.lines)
                      or identity.lines[:len(known.lines)] != known.lines):
            return None, ("identity.forked", "The DID log does not go on from the versions known before.")
        return identity, None

    def certify(self, actor, leaf, fields):
        """The finding, if any, about an epoch.open of an actor whose identity is known."""
        key, version, limit, certificate, _ = fields
        message = (b"\x86\x6dmdna.v1.epoch\x50" + leaf.log + b"\x58\x20" + leaf.actor + b"\x58\x20" + key
                   + cbor_uint(version) + cbor_uint(limit))
        if version != len(actor.identity.lines):
            return "epoch.uncertified", "The certificate is not by the newest version of the identity."
        if not any(register(k).verify(message, certificate) for k in actor.identity.keys):
            return "epoch.uncertified", "No actor key of the identity signed the certificate of this epoch's key."
        if register(key) is None:
            return "epoch.uncertified", "The epoch's key is no acceptable Ed25519 key."
        return None

    def enter(self, actor, aseq, key, limit, epoch):
        actor.signers[aseq] = (key, sha256(key)[:8], limit, epoch, False)

    def renew(self, actor, leaf, identity):
        """A new version: of the older keys, epochs that a rotation ends may still
        sign what they wrote, where that is not known to be signed."""
        for aseq, signer in actor.signers.items():
            if leaf.kind != ENTRY or signer in ENDED or not signer[3] \
                    or self.scope == "whole" and not actor.pending.get(aseq):
                self.end(actor, aseq)
            else:
                actor.signers[aseq] = signer[:4] + (True,)
        actor.identity = identity
        self.enter(actor, leaf.aseq, identity.keys[0], None, False)

    def end(self, actor, aseq):
        """A signer speaks for no later event; what it left unsigned stays so."""
        signer = actor.signers[aseq]
        if signer not in ENDED:
            actor.signers[aseq] = ENDED_EPOCH if signer[3] else ENDED_KEY
        self.settle(actor, aseq)

    def settle(self, actor, aseq):
        count = actor.pending.pop(aseq, 0)
        self.unsigned += count
        if self.scope == "part":
            self.unattributed += count

    def end_all(self, actor):
        for aseq in actor.signers:
            self.end(actor, aseq)

    @staticmethod
    def epoch(actor, aseq):
        """Whether a signer is an epoch, in force or ended."""
        signer = actor.signers.get(aseq, ENDED_KEY)
        return signer == ENDED_EPOCH or signer != ENDED_KEY and signer[3]

    def open_epoch(self, actor, leaf, fields):
        for aseq in fields[4]:
            if self.epoch(actor, aseq):
                self.end(actor, aseq)
        self.enter(actor, leaf.aseq, fields[0], fields[2], True)

    def speak(self, actor, leaf, asked):
        """Steps f to i of 9.1 for an event whose signer is in the table."""
        aseq = leaf.signer
        if asked:
            actor.pending[aseq] = actor.pending.get(aseq, 0) + 1
        signer = actor.signers[aseq]
        if signer in ENDED:
            return "signer.ended", "The key that speaks for this event had ended."
        key, key_id, limit, epoch, last = signer
        if limit is not None and leaf.time > limit:
            return "signer.ended", "The event is later than its key was valid."
        if last and (leaf.kind not in (SEAL, EPOCH_CLOSE) or leaf.refs or any(leaf.session)):
            return "signer.ended", "A rotation had ended this key, except for one last seal."
        if leaf.signature is None:
            if leaf.kind in MUST_SIGN or not epoch:
                return "signature.missing", "This event must be signed, and is not."
        else:
            if leaf.key_id != key_id or not register(key).verify(leaf.signed_bytes, leaf.signature):
                return "signature.invalid", "The signature is not by the key that speaks for this event."
            actor.pending.pop(aseq, None)
        if last or leaf.kind == EPOCH_CLOSE:
            self.end(actor, aseq)
        return None

    def change(self, index, actor, leaf, fields):
        """Steps k to m of 9.1: what revocations, recoveries and deactivations say."""
        if leaf.kind == REVOKE and fields:
            if self.epoch(actor, leaf.signer):
                return "signer.unknown", "Only an actor key may revoke an epoch."
            if not self.epoch(actor, fields[0]) and self.knows(actor, fields[0]):
                return "epoch.unknown", "What is revoked is no epoch of the actor."
            if fields[0] in actor.signers:
                self.end(actor, fields[0])
        if leaf.kind in (RECOVER, REVOKE) and fields:
            if fields[1] >= leaf.aseq:
                return "dispute.invalid", "What is disputed does not lie before the event that says so."
            self.dispute(index, actor, leaf, fields)
        if leaf.kind in (ENTRY, RECOVER) and fields and actor.identity.deactivated:
            actor.ended = True
            self.end_all(actor)
        return None

    def knows(self, actor, aseq):
        """Whether this section shows what the event of this number is."""
        return True

    def dispute(self, index, actor, leaf, fields):
        """Report the events that their actor says may be of somebody else (5.5)."""
        epoch = fields[0] if leaf.kind == REVOKE else None
        if self.disputes >= MAX_LISTED:
            self.disputes += 1
            return
        first, last, count = actor.trail.after(fields[1], leaf.aseq, epoch)
        if count:
            self.disputes += 1
            self.disputed.append({
                "actor": leaf.actor.hex(), "epoch": epoch, "first": first[0], "last": last[0],
                "first_leaf": first[1], "last_leaf": last[1], "count": count, "by": index})

    def other_logs(self):
        """The logs that this one names: (log, size, root) each."""
        return ([self.adopted] if self.adopted else []) + self.imported

    # -- what an event states about its log: steps 8 and 9 of 9.1, and 17.4

    def state(self, index, leaf, fields):
        if leaf.kind == GENESIS:
            if register(fields[1]) is None:
                self.problem("log.genesis", "The checkpoint key is no acceptable Ed25519 key.", index)
            elif self.keys is None:
                self.keys, self.database, self.tenant = LogKeys(fields[1]), fields[2], fields[3]
        elif leaf.kind in (ERASE, ERASE_DONE):
            count, positions = fields[-2:] if leaf.kind == ERASE_DONE else fields[1:3]
            if not count == len(positions) == len(leaf.refs):
                self.problem("erase.count", "The event states another number of events than it names.", index)
            if leaf.kind == ERASE:
                self.erasures.update(leaf.refs)
        elif leaf.kind == ADOPT:
            if leaf.actor != self.system or fields[0] == self.log or any(fields[0] == one[0] for one in self.other_logs()) \
                    or not (fields[3] == 3 and len(self.imported) < MAX_IMPORTED
                            or fields[3] in (1, 2) and index == 1 and leaf.aseq == 1):
                self.problem("log.adopted", "The log names another one where or as it may not.", index)
            elif fields[3] == 3:
                self.imported.append((fields[0], fields[1], fields[2]))
            else:
                self.adopted = (fields[0], fields[1], fields[2])
        elif leaf.kind == LOG_KEY:
            actor = self.actors.get(leaf.actor)
            spoken = leaf.actor == self.system and actor is not None and leaf.signer in actor.signers
            if not (spoken and self.keys is not None and self.keys.bring(index, fields[0])):
                self.problem("log.key", "Not the log's own actor brings a key, or a key that is none or was there before.",
                             index)
        elif leaf.kind == ANCHOR and fields[0] == BRIDGE and not fields[2] and self.keys and self.keys.waiting:
            self.bridge(index, fields[1])
        elif leaf.kind == ANCHOR:
            self.anchor(index, fields)

    def bridge(self, index, data):
        """The anchor after a log.key (7.4); what does not hold is found by judged_key()."""
        try:
            note = read_checkpoint(data)
        except Refused:
            return
        if note.origin == origin_of(self.log) and self.keys.bridge(index, note, self.root_before(index)):
            self.new_key()

    def new_key(self):
        """Another key is in force from here on."""

    def judged_key(self, waiting, index):
        """A leaf was read while a key waited for its bridge: it was the bridge, or it is a finding."""
        if waiting is not None and waiting[1] != self.keys.keys[-1][1]:
            self.problem("log.key", "The event is not the bridge to the key that the one before it brings.", index)
            if self.keys.waiting == waiting:
                self.keys.waiting = None

    def anchor(self, index, fields):
        try:
            note = read_checkpoint(fields[1])
        except Refused as reason:
            self.problem("anchor.invalid", "The anchor's checkpoint is malformed: %s." % reason, index)
            return
        root = self.confirmed.get(note.size)
        if note.origin != origin_of(self.log) or note.size > index or root not in (None, note.root):
            self.problem("anchor.invalid", "The anchor's checkpoint is not one of the tree before it.", index)
            return
        if (fields[0], bool(fields[2])) not in ((1, False), (2, True)):
            self.problem("anchor.invalid", "An anchor of another kind, or with another token than its kind has.", index)
            return
        cosignatures = self.cosigned(note, index)
        earliest = self.policy.not_before(cosignatures)
        # A later leaf with no later time says nothing that is not known.
        if root is not None and earliest is not None and (not self.before or earliest > self.before[-1][1]):
            self.before.append((index, earliest))

    def check(self, index, leaf):
        """Steps 2 to 4 of 9.1."""
        if leaf.log != self.log:
            self.problem("leaf.wrong_log", "The event belongs to another log.", index)
        if leaf.time < self.time:
            self.problem("leaf.time_decreases", "The event claims to be earlier than one before it.", index)
        self.time = max(self.time, leaf.time)
        if (index == 0) != (leaf.kind == GENESIS):
            self.problem("log.genesis", "Leaf 0, and no other one, is the log's genesis.", index)
        elif index == 0:
            self.system = leaf.actor

    def compare_kept(self, size, roots):
        """Freshness against the checkpoints that the auditor kept (16.4)."""
        states = set()
        for note in self.kept:
            if self.keys is None:
                continue
            if note.size > size:
                # A key that came later may have signed it.
                states.add("behind %d" % (note.size - size))
                self.problem("log.rolled_back", "A kept checkpoint has %d leaves, the log here %d." % (note.size, size))
            elif not self.keys.sign(note):
                states.add("forked")
                self.problem("log.forked", "A kept checkpoint is signed by another key than this log's.")
            elif note.size in roots:
                if roots[note.size] == note.root:
                    states.add("current")
                else:
                    states.add("forked")
                    self.problem("log.forked", "A kept checkpoint has another root at size %d." % note.size)
        for state in sorted(states, key=lambda s: ("forked", "behind", "current").index(s.split()[0])):
            self.freshness = state
            break

    def finish(self):
        """The end of the section; what needs later sections comes in conclude()."""
        for actor in self.actors.values():
            for aseq in list(actor.pending):
                self.settle(actor, aseq)
        if self.keys is None and not self.cut:
            self.problem("log.genesis", "The log has no genesis that names a checkpoint key.")
        if self.keys is not None and self.keys.waiting is not None and not self.cut:
            self.problem("log.key", "The log ends before the bridge to the key that this event brings.", self.keys.waiting[0])

    def account(self, erased):
        """Bodies that are not there: erased, or missing (8)."""
        for value, indexes in self.absent.items():
            if any(value in refs for refs in erased):
                self.erased += len(indexes)
            elif not self.cut:
                self.missing += len(indexes)
                for index in indexes:
                    self.problem("body.missing", "A body is not there, and no erase event names it.", index)

    def identities(self):
        return sum(actor.identity is not None for name, actor in self.actors.items() if name != self.system)

    def vouched(self):
        return self.own_valid and self.keys.trusted(self.note.size, lambda key: self.policy.trusts(self.log, key))

    def report(self):
        size, head = self.extent()
        return {
            "log": self.log.hex(), "scope": self.scope, "label": self.label, "verdict": self.verdict,
            "size": size, "events": self.events,
            "head": head.hex() if head is not None else None,
            "log_key": hashlib.sha256(self.keys.keys[-1][1]).hexdigest() if self.keys is not None else None,
            "identities": self.identities(),
            "bodies": {"present": self.present, "disclosed": self.disclosed, "withheld": self.withheld,
                       "erased": self.erased, "missing": self.missing},
            "unsigned": self.unsigned, "unattributed": self.unattributed,
            "chain_complete": not self.links, "missing_links": self.links,
            "freshness": self.freshness, "quorum": self.quorum, "witnessed": self.witnessed,
            "adopted": self.adopted[0].hex() if self.adopted else None,
            "imported": [one[0].hex() for one in self.imported], "disputed": self.disputed,
            # Leaves from `leaf` on are not before, leaves below it not after `time`.
            "times": {name: [{"leaf": leaf, "time": moment(ms)} for leaf, ms in sorted(bounds)]
                      for name, bounds in (("not_before", self.before), ("not_after", self.after))},
        }


class Whole(Section):
    """A section that holds all leaves of a log up to its checkpoint."""

    scope = "whole"

    def __init__(self, *args):
        super().__init__(*args)
        self.tree = Tree()
        self.expected = {}  # size -> checkpoint, judged when the tree has that size
        self.roots = {note.size: None for note in self.kept}

    def extent(self):
        return self.tree.size, self.tree.root()

    def root_before(self, index):
        return self.tree.root()

    def event(self, index, role, data, body, secret, path):
        self.events += 1
        value = leaf_hash(data)
        waiting = self.keys.waiting if self.keys is not None else None
        try:
            leaf = read_leaf(data)
        except Refused as reason:
            self.problem("leaf.malformed", "The leaf is malformed: %s." % reason, index)
        else:
            self.check(index, leaf)
            fields = self.body(index, leaf, value, body, secret)
            finding = self.chain(index, leaf, value, fields)
            if finding:
                self.problem(finding[0], finding[1], index)
            if fields:
                self.state(index, leaf, fields)
        self.judged_key(waiting, index)
        self.tree.append(value)
        if index == 0:
            self.offer()
        self.reached()

    def offer(self):
        for note, _ in self.further + [(self.note, None)]:
            self.weigh(note)
            if self.named(note):
                if note.size < self.tree.size:
                    self.problem("checkpoint.invalid", "A checkpoint covers no leaf.")
                else:
                    self.expected[note.size] = note
        self.further = []

    def reached(self):
        size = self.tree.size
        if size in self.expected or size in self.roots:
            root = self.tree.root()
            if size in self.roots:
                self.roots[size] = root
                for kept in self.kept:
                    if kept.size == size and kept.root == root and self.keys is not None and self.keys.sign(kept):
                        self.confirm(kept)
            note = self.expected.pop(size, None)
            if note is not None and not self.signed(note):
                pass
            elif note is not None and note.root == root:
                self.confirm(note)
                if note is self.note:
                    self.own_valid = True
            elif note is not None:
                self.problem("log.forked", "The tree of %d leaves is not the one that was signed." % size)
        if size == self.note.size + 1:
            self.problem("bundle.tail", "Leaves follow that the checkpoint does not cover.", size - 1)

    def chain(self, index, leaf, value, fields):
        """Step 7 of 9.1: the first finding, or None."""
        actor = self.actors.get(leaf.actor)
        if fields and leaf.kind in WITH_DID and (actor or leaf.kind != RECOVER):
            identity, finding = self.identify(actor, leaf, fields)
            if finding:
                return finding
            if actor is None:
                actor = self.actors[leaf.actor] = Actor()
                actor.aseq, actor.last = -1, identity.lines[-1]
            self.renew(actor, leaf, identity)
        if actor is None:
            return "chain.unknown_actor", "Nothing before this event says who its actor is."
        in_place = leaf.aseq == actor.aseq + 1 and leaf.prev == actor.last
        actor.aseq, actor.last = leaf.aseq, value
        actor.trail.add(leaf.aseq, index, leaf.signer)
        if actor.ended:
            return REVOKED
        if fields and leaf.kind == EPOCH_OPEN:
            finding = self.certify(actor, leaf, fields)
            if finding:
                return finding
            self.open_epoch(actor, leaf, fields)
        if leaf.signer not in actor.signers:
            return "signer.unknown", "Field 5 names no event that brought a key."
        finding = self.speak(actor, leaf, True)
        if finding:
            return finding
        if leaf.kind in WITH_KEY and leaf.signer != leaf.aseq:
            return "signer.unknown", "An event that brings a key must be spoken for by that key."
        finding = self.change(index, actor, leaf, fields)
        if finding:
            return finding
        if not in_place:
            return "chain.broken", "The event does not follow the one before it in its actor's chain."
        return None

    def finish(self):
        super().finish()
        if self.cut:
            return
        for note in self.expected.values():
            if self.signed(note):
                self.problem("log.truncated", "A checkpoint covers %d leaves, %d are here." % (note.size, self.tree.size))
        self.compare_kept(self.tree.size, {k: r for k, r in self.roots.items() if r is not None})


class Part(Section):
    """A section that proves some events of a log."""

    scope = "part"

    def __init__(self, *args):
        super().__init__(*args)
        self.index = -1
        self.offered = []  # checkpoints whose proof holds

    def extent(self):
        return self.note.size, self.note.root

    def event(self, index, role, data, body, secret, path):
        self.events += 1
        asked = role == 0
        if index <= self.index or index >= self.note.size:
            self.problem("bundle.order", "The event is out of order, or beyond the checkpoint.", index)
        self.index = index
        value = leaf_hash(data)
        waiting = self.keys.waiting if self.keys is not None else None
        try:
            leaf = read_leaf(data)
        except Refused as reason:
            self.problem("leaf.malformed", "The leaf is malformed: %s." % reason, index)
        else:
            links = path is None and not asked and leaf.kind not in WITH_KEY
            if path is None and not links:
                self.problem("proof.invalid", "An event is here without a proof that must have one.", index)
            elif path is not None and not inclusion_holds(index, self.note.size, value, path, self.note.root):
                self.problem("proof.invalid", "The proof does not lead to the root that was signed.", index)
            self.check(index, leaf)
            fields = self.body(index, leaf, value, body, secret, asked)
            if index == 0 and leaf.kind == GENESIS and not isinstance(body, bytes):
                self.problem("log.genesis", "The genesis is here without its body.", index)
            self.follow(index, leaf, value, fields, asked)
            if links:
                self.actors[leaf.actor].unproven = index
            if fields:
                self.state(index, leaf, fields)
        self.judged_key(waiting, index)
        if self.events == 1:
            if index != 0:
                self.problem("log.genesis", "The part does not begin with the log's genesis.", index)
            self.offer()

    def root_before(self, index):
        return next((note.root for note in self.offered if note.size == index), None)

    def offer(self):
        for note, proof in self.further:
            self.weigh(note)
            if self.named(note):
                if consistency_holds(note.size, self.note.size, proof, note.root, self.note.root):
                    self.offered.append(note)
                else:
                    self.problem("checkpoint.invalid",
                                 "The tree at size %d is not proven to grow into the section's." % note.size)
        self.weigh(self.note)
        if self.named(self.note):
            self.offered.append(self.note)
        self.further = []
        self.new_key()

    def new_key(self):
        """Confirm what the keys that were read have signed."""
        for note in self.offered:
            if note.size not in self.confirmed and self.keys.sign(note):
                self.confirm(note)

    def follow(self, index, leaf, value, fields, asked):
        """Steps 6 to 8 of 16.3."""
        actor = self.actors.get(leaf.actor)
        if actor is None:
            actor = self.actors[leaf.actor] = Actor()
        self.place(actor, index, leaf, value, asked)
        if asked:
            actor.trail.add(leaf.aseq, index, leaf.signer)
        if leaf.kind in WITH_KEY:
            actor.bringers.add(leaf.aseq)
        finding = self.bring(actor, leaf, fields)
        if finding is None:
            if leaf.aseq == 0 and actor.identity is not None and leaf.kind in WITH_DID and fields \
                    and leaf.prev != actor.identity.lines[-1]:
                self.problem("chain.broken", "The first event does not follow the DID log.", index)
            if leaf.signer in actor.signers:
                finding = self.speak(actor, leaf, asked) or self.change(index, actor, leaf, fields)
            else:
                if asked:
                    self.unattributed += 1
                if actor.shown(leaf.signer) and leaf.signer not in actor.bringers:
                    finding = "signer.unknown", "Field 5 names an event that brings no key."
        elif asked and finding != REVOKED and not actor.ended:
            self.unattributed += 1
        if finding:
            self.problem(finding[0], finding[1], index)

    def unfixed(self, actor):
        """An event without a path that the next one of its actor does not fix (16.3 step 3)."""
        if actor.unproven is not None:
            self.problem("proof.invalid", "The event has no proof, and no later one stands for it.", actor.unproven)
            actor.unproven = None

    def knows(self, actor, aseq):
        return aseq in actor.signers or actor.shown(aseq) and aseq not in actor.bringers

    def place(self, actor, index, leaf, value, asked):
        before, broken = actor.aseq, False
        if before is not None and leaf.aseq <= before + 1:
            # It fixes the one before it, or the finding is that the chain is broken.
            actor.unproven = None
        self.unfixed(actor)
        if before is not None and leaf.aseq <= before:
            broken = True
            actor.back.add(leaf.aseq)
        elif before is not None and leaf.aseq == before + 1:
            broken = leaf.prev != actor.last
            actor.ends[-1] = max(actor.ends[-1], leaf.aseq)
        else:
            if before is not None and actor.asked:
                actor.gaps.append((before + 1, leaf.aseq - 1))
            if not actor.starts or leaf.aseq > actor.ends[-1]:
                actor.starts.append(leaf.aseq)
                actor.ends.append(leaf.aseq)
            else:
                actor.back.add(leaf.aseq)
            if before is not None:
                # A later signature proves nothing about what lies before a gap.
                for aseq in list(actor.pending):
                    self.settle(actor, aseq)
        if broken:
            self.problem("chain.broken", "The event does not follow the one before it in its actor's chain.", index)
        if asked:
            for first, last in actor.gaps:
                self.links.append({"actor": leaf.actor.hex(), "from": first, "to": last})
            actor.gaps, actor.asked = [], True
        actor.aseq, actor.last = leaf.aseq, value

    def bring(self, actor, leaf, fields):
        """Step 7: keys, as in 9.1."""
        if fields and leaf.kind in WITH_DID:
            identity, finding = self.identify(actor, leaf, fields)
            if finding:
                return finding
            self.renew(actor, leaf, identity)
        elif actor.ended:
            return REVOKED
        elif fields and leaf.kind == EPOCH_OPEN and actor.identity is not None:
            finding = self.certify(actor, leaf, fields)
            if finding:
                return finding
            self.open_epoch(actor, leaf, fields)
        return None

    def finish(self):
        super().finish()
        for note in self.offered:
            # Which key was in force at its size is known now.
            if self.keys.sign(note):
                self.own_valid |= note is self.note
            elif not self.cut:
                self.signed(note)
        if self.cut:
            return
        for actor in self.actors.values():
            self.unfixed(actor)
        self.compare_kept(self.note.size, self.confirmed)


# --- judging a bundle (16) ----------------------------------------------------------------

class Malformed(Exception):
    """A frame that is not as 16.1 says; judging ends there."""


class Truncated(Exception):
    """The file ends before its last frame."""


class Frames:
    """The frames of a bundle, one at a time."""

    def __init__(self, stream):
        self.stream = stream
        self.digest = hashlib.sha256()
        self.pending = stream.read(len(MAGIC))
        if self.pending != MAGIC:
            raise Usage("bundle.unknown", "This file is no mirrordna bundle.")

    def next(self):
        """The next frame. `digest` then covers everything before it."""
        self.digest.update(self.pending)
        head = self.stream.read(4)
        if len(head) < 4:
            raise Truncated
        size = struct.unpack(">I", head)[0]
        if size > MAX_FRAME:
            raise Malformed("a frame is longer than it may be")
        data = self.stream.read(size)
        if len(data) < size:
            raise Truncated
        self.pending = head + data
        return data


FRAME_ITEMS = {0: 5, 2: 3, 1: 7, 9: 3}


def read_frame(data):
    """(tag, items after the tag) of a frame."""
    cbor = Cbor(data)
    count = cbor.array()
    tag = cbor.uint()
    if FRAME_ITEMS.get(tag) != count:
        raise Refused("an unknown frame")
    if tag == 1:
        items = [cbor.uint(), cbor.uint(), cbor.bytes()]
        items.append(None if cbor.null() else cbor.uint() if cbor.peek() == 0 else cbor.bytes())
        items.append(None if cbor.null() else cbor.bytes(32))
        items.append(None if cbor.null() else cbor.bytes())
    elif tag == 0:
        items = [cbor.bytes(16), cbor.uint(), cbor.text(), cbor.text()]
    elif tag == 2:
        items = [cbor.text(), None if cbor.null() else cbor.bytes()]
    else:
        items = [cbor.uint(), cbor.bytes(32)]
    cbor.done()
    return tag, items


class Judge:
    """Walks a bundle once, section by section, and then sums up."""

    def __init__(self, policy, kept=()):
        self.policy, self.kept = policy, list(kept)
        self.sections, self.problems = [], []
        self.current = None
        self.logs, self.named = {}, set()
        self.events = 0

    def problem(self, code, message):
        self.problems.append({"code": code, "where": "bundle", "message": message})

    def judge(self, stream):
        frames = Frames(stream)
        try:
            while True:
                data = frames.next()
                try:
                    tag, items = read_frame(data)
                except Refused as reason:
                    raise Malformed(str(reason)) from None
                if tag == 9:
                    break
                self.take(tag, items)
            if not self.sections:
                raise Malformed("there is no section")
            self.close()
            if items[0] != self.events or items[1] != frames.digest.digest():
                self.problem("bundle.truncated", "The count or the digest at the end is wrong.")
            if stream.read(1):
                self.problem("bundle.trailing", "Bytes follow the last frame.")
        except Malformed as reason:
            self.problem("bundle.malformed", "The file is malformed after %d events: %s." % (self.events, reason))
            if self.current:
                self.current.cut = True
            self.close()
        except Truncated:
            self.problem("bundle.truncated", "The file ends before its last frame.")
            self.close()
        self.conclude()

    def close(self):
        """End the section that is read, if there is one."""
        section, self.current = self.current, None
        if section:
            section.finish()
            self.named.update(one[0] for one in section.other_logs())

    def take(self, tag, items):
        if tag == 0:
            self.open(*items)
        elif self.current is None:
            raise Malformed("something stands before the first section")
        elif tag == 2:
            self.take_checkpoint(self.current, *items)
        else:
            self.take_event(self.current, *items)

    def open(self, log, scope, checkpoint, label):
        if scope > 1 or len(label.encode("utf-8")) > MAX_LABEL:
            raise Malformed("a section of unknown scope, or with too long a label")
        self.close()
        if log in self.logs or log in self.named:
            raise Malformed("a section stands twice, or after one that goes on from it")
        kind = Part if scope else Whole
        section = kind(log, self.checkpoint(checkpoint), label, self.policy, self.kept)
        self.current = self.logs[log] = section
        self.sections.append(section)

    @staticmethod
    def checkpoint(text):
        try:
            return read_checkpoint(text.encode("utf-8"))
        except Refused as reason:
            raise Malformed("a checkpoint that is none: %s" % reason) from None

    def take_checkpoint(self, section, text, proof):
        if section.events:
            raise Malformed("a checkpoint stands after an event")
        if (proof is None) != (section.scope == "whole"):
            raise Malformed("a checkpoint with a proof in a whole section, or without one in a part")
        path = None if proof is None else hashes(proof)
        if proof is not None and path is None:
            raise Malformed("a proof that is no list of hashes")
        note = self.checkpoint(text)
        if not section.ascends < note.size < section.note.size:
            raise Malformed("checkpoints out of their order")
        section.ascends = note.size
        section.further.append((note, path))

    def take_event(self, section, index, role, leaf, body, secret, path):
        if section.scope == "whole":
            if index != section.events or role != 0 or path is not None:
                raise Malformed("an event out of its order, or not of a whole section")
        else:
            if role > 1:
                raise Malformed("an event with another role")
            if path is not None:
                path = hashes(path)
                if path is None or len(path) > MAX_PATH:
                    raise Malformed("a proof that is no list of hashes")
        self.events += 1
        section.event(index, role, leaf, body, secret, path)

    def conclude(self):
        after = {}
        for section in self.sections:
            for one in section.other_logs():
                if one[0] in self.logs:
                    before = self.logs[one[0]]
                    self.compare(before, section, one, before.log in after)
                    after.setdefault(before.log, section)
        everywhere = [s.erasures for s in self.sections if s.erasures]
        for section in self.sections:
            erased = everywhere
            if section.scope == "whole":
                # A chain of logs may be as long as 9.4 says.
                erased, later = [section.erasures], after.get(section.log)
                while later is not None and len(erased) <= 256:
                    erased.append(later.erasures)
                    later = after.get(later.log)
            section.account(erased)
        for section in reversed(self.sections):
            later = after.get(section.log)
            section.weighed(later is not None and later.verdict == INTACT)
            if section.found:
                section.verdict = ALTERED
            elif section.unattributed:
                section.verdict = UNPROVEN
            elif section.vouched():
                section.verdict = INTACT
            else:
                section.verdict = later.verdict if later is not None else UNPROVEN
            if section.quorum is False and section.verdict == INTACT:
                section.verdict = UNPROVEN

    @staticmethod
    def compare(before, section, named, again):
        """Hold a log against what the one that goes on from it, or brought it in, says (9.4, 9.6)."""
        _, size, root = named
        if again:
            before.problem("log.adopted", "Two logs go on from this one.")
        elif before.extent() != (size, root):
            before.problem("log.adopted", "The log that goes on from this one names another size or root.")
        elif named is section.adopted and None not in (before.keys, section.keys) and \
                (before.database, before.tenant) != (section.database, section.tenant):
            before.problem("log.adopted", "The log that goes on from this one is of another database or tenant.")

    def report(self):
        verdicts = [section.verdict for section in self.sections]
        if self.problems or ALTERED in verdicts:
            verdict = ALTERED
        else:
            verdict = INTACT if verdicts and set(verdicts) == {INTACT} else UNPROVEN
        return {
            "verdict": verdict, "logs": [section.report() for section in self.sections],
            "problems": self.problems + [p for section in self.sections for p in section.problems],
            "unlisted": sum(section.found - len(section.problems) for section in self.sections),
        }


def cbor_uint(value):
    if value < 24:
        return bytes([value])
    size = 0 if value < 1 << 8 else 1 if value < 1 << 16 else 2 if value < 1 << 32 else 3
    return bytes([24 + size]) + value.to_bytes(1 << size, "big")


# --- each event with its times, and disclosed contents (16.4, 6.2, 6.3) ----------------------

class Bounds:
    """Proven times of a section's leaves: the best bound for each index."""

    def __init__(self, section):
        # For "not after" the smallest time of all checkpoints above an index; for "not before" the
        # largest of all anchors up to it.
        self.sizes, self.latest, best = [], [], None
        for size, ms in sorted(section.after, reverse=True):
            best = ms if best is None else min(best, ms)
            self.sizes.append(-size)
            self.latest.append(best)
        self.leaves, self.earliest, best = [], [], None
        for index, ms in sorted(section.before):
            best = ms if best is None else max(best, ms)
            self.leaves.append(index)
            self.earliest.append(best)

    def of(self, index):
        low = bisect.bisect_right(self.leaves, index)
        high = bisect.bisect_left(self.sizes, -index)
        return self.earliest[low - 1] if low else None, self.latest[high - 1] if high else None


def list_events(judge, stream, show):
    """One dict for each event of a bundle that was judged before."""
    frames, left, at = Frames(stream), judge.events, -1
    section = bounds = None
    while left:
        tag, items = read_frame(frames.next())
        if tag == 0:
            at += 1
            section = judge.sections[at]
            bounds = Bounds(section)
        if tag != 1:
            continue
        left -= 1
        index, role, data, body, secret, _ = items
        entry = {"log": section.log.hex(), "index": index, "role": "support" if role else "asked",
                 "leaf": leaf_hash(data).hex()}
        entry["not_before"], entry["not_after"] = bounds.of(index)
        try:
            leaf = read_leaf(data)
        except Refused:
            entry["kind"] = "malformed"
            yield entry
            continue
        if isinstance(body, int):
            state = "withheld"
        elif body is not None:
            state = "disclosed" if secret is not None else "present"
        else:
            state = "none" if leaf.body == ZERO32 else "absent"
        entry.update(kind=kind_name(leaf.kind), actor=leaf.actor.hex(), aseq=leaf.aseq, time=leaf.time,
                     signed=leaf.signature is not None, body=state)
        if show and secret is not None and isinstance(body, bytes):
            try:
                entry["content"] = read_private(open_row(section.log, leaf, body, secret))
            except Refused as reason:
                entry["unreadable"] = str(reason)
        yield entry


def open_row(log, leaf, row, secret):
    """The padded plain text of a row under its disclosed secret (6.3)."""
    data = b"mdna.bd1" + log + leaf.actor + struct.pack(">Q", leaf.kind)
    key, sealed = hkdf(secret, b"mdna.v1.seal"), row[32:]
    if row[:32] == hkdf(secret, AES_LABEL):
        plain = aes_gcm_open(key, bytes(12), sealed, data)
    elif row[:32] == hkdf(secret, XCHACHA_LABEL):
        plain = xchacha_open(key, bytes(24), sealed, data)
    else:
        raise Refused("the secret is not that of the row")
    if plain is None:
        raise Refused("the row does not open")
    return plain


def padme(n):
    if n < 2:
        return n
    e = n.bit_length() - 1
    z = max(e - e.bit_length(), 0)
    return (n + (1 << z) - 1) >> z << z


def read_private(plain):
    """The fields of a padded private body, in forms that JSON can carry."""
    cbor, fields, last = Cbor(plain), {}, -1
    for _ in range(cbor.map()):
        number = cbor.uint()
        if number <= last:
            raise Refused("fields out of order")
        last = number
        fields[str(number)] = read_value(cbor, 0)
    if any(plain[cbor.at:]) or len(plain) != padme(cbor.at):
        raise Refused("the padding is wrong")
    return fields


def read_value(cbor, depth):
    major = cbor.peek()
    if major == 0:
        return cbor.uint()
    if major == 1:
        return -1 - cbor.expect(1)
    if major == 2:
        data = cbor.bytes()
        try:
            return {"bytes": data.decode("utf-8")}
        except UnicodeDecodeError:
            return {"hex": data.hex()}
    if major == 3:
        return cbor.text()
    if major == 4 and depth < 8:
        return [read_value(cbor, depth + 1) for _ in range(cbor.array())]
    if major == 7 and not cbor.null():
        return {20: False, 21: True}.get(cbor.expect(7), "?")
    if major == 7:
        return None
    raise Refused("a value of another type")


# AES-256-GCM (NIST SP 800-38D) and XChaCha20-Poly1305 (RFC 8439, draft-irtf-cfrg-xchacha-03), for contents
# that were disclosed. No verdict depends on them.

def aes_tables():
    box, p, q = [0] * 256, 1, 1
    while True:
        p ^= (p << 1) & 255 ^ (0x1B if p & 128 else 0)
        q ^= q << 1
        q ^= q << 2
        q ^= q << 4
        q &= 255
        if q & 128:
            q ^= 9
        box[p] = q ^ (q << 1 | q >> 7) & 255 ^ (q << 2 | q >> 6) & 255 ^ (q << 3 | q >> 5) & 255 \
            ^ (q << 4 | q >> 4) & 255 ^ 0x63
        if p == 1:
            break
    box[0] = 0x63
    tables = [[], [], [], []]
    for s in box:
        double = (s << 1) & 255 ^ (0x1B if s & 128 else 0)
        word = double << 24 | s << 16 | s << 8 | double ^ s
        for i in range(4):
            tables[i].append((word >> 8 * i | word << 32 - 8 * i) & 0xFFFFFFFF)
    return box, tables


class Aes256:
    """Encryption of single blocks."""

    tables = None

    def __init__(self, key):
        if Aes256.tables is None:
            Aes256.tables = aes_tables()
        box = Aes256.tables[0]
        words, constant = list(struct.unpack(">8I", key)), 1

        def substitute(w):
            return box[w >> 24] << 24 | box[w >> 16 & 255] << 16 | box[w >> 8 & 255] << 8 | box[w & 255]

        for i in range(8, 60):
            w = words[-1]
            if i % 8 == 0:
                w = substitute((w << 8 | w >> 24) & 0xFFFFFFFF) ^ constant << 24
                constant = (constant << 1) & 255 ^ (0x1B if constant & 128 else 0)
            elif i % 8 == 4:
                w = substitute(w)
            words.append(words[i - 8] ^ w)
        self.words = words

    def encrypt(self, block):
        box, (t0, t1, t2, t3) = Aes256.tables
        k = self.words
        a, b, c, d = (w ^ k[i] for i, w in enumerate(struct.unpack(">4I", block)))
        for i in range(4, 56, 4):
            a, b, c, d = (
                t0[a >> 24] ^ t1[b >> 16 & 255] ^ t2[c >> 8 & 255] ^ t3[d & 255] ^ k[i],
                t0[b >> 24] ^ t1[c >> 16 & 255] ^ t2[d >> 8 & 255] ^ t3[a & 255] ^ k[i + 1],
                t0[c >> 24] ^ t1[d >> 16 & 255] ^ t2[a >> 8 & 255] ^ t3[b & 255] ^ k[i + 2],
                t0[d >> 24] ^ t1[a >> 16 & 255] ^ t2[b >> 8 & 255] ^ t3[c & 255] ^ k[i + 3])
        out = []
        for i, (w, x, y, z) in enumerate(((a, b, c, d), (b, c, d, a), (c, d, a, b), (d, a, b, c)), 56):
            out.append((box[w >> 24] << 24 | box[x >> 16 & 255] << 16 | box[y >> 8 & 255] << 8 | box[z & 255]) ^ k[i])
        return struct.pack(">4I", *out)


def ghash(h, data):
    """GHASH over whole blocks; bits run from the left (SP 800-38D section 6.4)."""
    powers = [h]  # h times x^i
    for _ in range(127):
        v = powers[-1]
        powers.append(v >> 1 ^ (0xE1 << 120 if v & 1 else 0))
    # By bytes: table[i][b] is byte b at place i of the block, times h.
    table = []
    for i in range(16):
        row = [0] * 256
        for bit in range(8):
            row[128 >> bit] = powers[8 * i + bit]
        for b in range(1, 256):
            low = b & -b
            if low != b:
                row[b] = row[low] ^ row[b ^ low]
        table.append(row)
    y = 0
    for at in range(0, len(data), 16):
        y ^= int.from_bytes(data[at:at + 16], "big")
        z = 0
        for row, b in zip(table, y.to_bytes(16, "big")):
            z ^= row[b]
        y = z
    return y


def aes_gcm_open(key, nonce, sealed, data):
    """The plain text, or None; the nonce has 12 bytes."""
    if len(sealed) < 16:
        return None
    cipher, tag = sealed[:-16], sealed[-16:]
    aes = Aes256(key)
    h = int.from_bytes(aes.encrypt(bytes(16)), "big")
    blocks = data + bytes(-len(data) % 16) + cipher + bytes(-len(cipher) % 16) \
        + struct.pack(">QQ", 8 * len(data), 8 * len(cipher))
    mask = int.from_bytes(aes.encrypt(nonce + b"\0\0\0\x01"), "big")
    if (ghash(h, blocks) ^ mask).to_bytes(16, "big") != tag:
        return None
    stream = b"".join(aes.encrypt(nonce + struct.pack(">I", i + 2)) for i in range((len(cipher) + 15) // 16))
    return xor(cipher, stream)


def xor(data, stream):
    size = len(data)
    return (int.from_bytes(data, "big") ^ int.from_bytes(stream[:size], "big")).to_bytes(size, "big")


CHACHA_WORDS = struct.unpack("<4I", b"expand 32-byte k")


def chacha_rounds(state):
    s = list(state)
    for _ in range(10):
        for a, b, c, d in ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
                           (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)):
            for x, y, z, left in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
                s[x] = s[x] + s[y] & 0xFFFFFFFF
                v = s[z] ^ s[x]
                s[z] = (v << left | v >> 32 - left) & 0xFFFFFFFF
    return s


def chacha_block(key, counter, nonce):
    state = CHACHA_WORDS + struct.unpack("<8I", key) + (counter,) + struct.unpack("<3I", nonce)
    return struct.pack("<16I", *(x + y & 0xFFFFFFFF for x, y in zip(chacha_rounds(state), state)))


def xchacha_open(key, nonce, sealed, data):
    """The plain text, or None; the nonce has 24 bytes."""
    if len(sealed) < 16:
        return None
    cipher, tag = sealed[:-16], sealed[-16:]
    words = chacha_rounds(CHACHA_WORDS + struct.unpack("<8I", key) + struct.unpack("<4I", nonce[:16]))
    key, nonce = struct.pack("<8I", *(words[:4] + words[12:])), bytes(4) + nonce[16:]
    once = chacha_block(key, 0, nonce)
    r = int.from_bytes(once[:16], "little") & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
    s = int.from_bytes(once[16:32], "little")
    blocks = data + bytes(-len(data) % 16) + cipher + bytes(-len(cipher) % 16) \
        + struct.pack("<QQ", len(data), len(cipher))
    acc = 0
    for at in range(0, len(blocks), 16):
        acc = (acc + int.from_bytes(blocks[at:at + 16], "little") + (1 << 128)) * r % (2**130 - 5)
    if (acc + s & (1 << 128) - 1).to_bytes(16, "little") != tag:
        return None
    stream = b"".join(chacha_block(key, i + 1, nonce) for i in range((len(cipher) + 63) // 64))
    return xor(cipher, stream)


# --- the report -----------------------------------------------------------------------------

def kind_name(kind):
    return KINDS.get(kind, "kind %d" % kind)


def quoted(text):
    """Text from the file, safe to print: a terminal must not obey it."""
    return json.dumps(text if len(text) <= 200 else text[:200] + "...")


def moment(ms):
    try:
        when = datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(milliseconds=ms)
        return when.strftime("%Y-%m-%dT%H:%M:%S") + ".%03dZ" % (ms % 1000)
    except OverflowError:
        return "%d ms after 1970" % ms


SENTENCES = {
    INTACT: "INTACT: everything in this file is as it was signed, by a key that you trust.",
    ALTERED: "ALTERED: this file is not what was signed. The findings below say where.",
    UNPROVEN: "UNPROVEN: nothing contradicts this file, but nothing that you trust vouches for it either.",
}


def reasons(section):
    """Why a section without findings is not intact, in words."""
    trusts = lambda key: section.policy.trusts(section.log, key)
    if section.keys is not None and not section.keys.trusted(section.note.size, trusts):
        yield ("its checkpoint key is not one that you trust; compare the fingerprint %s with one that you got"
               " another way, and give it with --key" % hashlib.sha256(section.keys.keys[section.keys.number(section.note.size)][1]).hexdigest())
    if section.quorum is False:
        yield "its checkpoint lacks the cosignatures that the policy asks for"
        if section.witnessed:
            yield "only the first %d of its %d events have them: those after are not witnessed" % (
                section.witnessed, section.extent()[0])
    if section.unattributed:
        yield "%d events that were asked for are not shown to be signed by their actor" % section.unattributed


def print_report(judge, report, out):
    print(SENTENCES[report["verdict"]], file=out)
    for section, log in zip(judge.sections, report["logs"]):
        bodies = log["bodies"]
        print("", file=out)
        print("Log %s: %s" % (log["log"], log["verdict"]), file=out)
        if section.label:
            print("  label (no evidence): %s" % quoted(section.label), file=out)
        if log["scope"] == "whole":
            print("  the whole log, %d events, root %s" % (log["events"], log["head"]), file=out)
        else:
            print("  %d events, proven to be in a log of %d, root %s" % (log["events"], log["size"], log["head"]),
                  file=out)
        print("  checkpoint key: %s" % (log["log_key"] or "none"), file=out)
        if log["verdict"] == UNPROVEN:
            for reason in reasons(section):
                print("  unproven because %s" % reason, file=out)
        if log["adopted"]:
            print("  goes on from log %s" % log["adopted"], file=out)
        for one in log["imported"]:
            print("  brought in log %s" % one, file=out)
        print("  identities: %d" % log["identities"], file=out)
        print("  contents: %d as committed to (%d of them disclosed), %d withheld, %d erased by a recorded event,"
              " %d missing" % (bodies["present"], bodies["disclosed"], bodies["withheld"], bodies["erased"],
                               bodies["missing"]), file=out)
        if log["unsigned"]:
            print("  %d events have no signature of their actor yet; only the log vouches for them" % log["unsigned"],
                  file=out)
        if log["unattributed"]:
            print("  %d events that were asked for are not attributed to their actor" % log["unattributed"], file=out)
        for link in log["missing_links"][:MAX_LISTED]:
            print("  left out between events shown: %s, events %d to %d" % (link["actor"], link["from"], link["to"]),
                  file=out)
        for range_ in log["disputed"][:MAX_LISTED]:
            print("  disputed by their actor: %s, events %d to %d" % (range_["actor"], range_["first"], range_["last"]),
                  file=out)
        if log["quorum"] is not None:
            print("  quorum of witnesses: %s" % ("yes" if log["quorum"] else "no"), file=out)
        for size, ms in section.after[:MAX_LISTED]:
            print("  proof of time: the first %d events are from before %s" % (size, moment(ms)), file=out)
        for index, ms in section.before[:MAX_LISTED]:
            print("  proof of time: event %d and all after it are from after %s" % (index, moment(ms)), file=out)
        if not section.after and not section.before:
            print("  no proof of time: the times of the events are claims", file=out)
        print("  freshness: %s" % {
            "unproven": "unproven; a newer state of this log may exist",
            "current": "no older than the checkpoint that you kept",
            "forked": "this is not the history of which you kept a checkpoint",
        }.get(log["freshness"], "%s events, compared with the checkpoint that you kept" % log["freshness"]), file=out)
    if report["problems"]:
        print("", file=out)
        print("Findings:", file=out)
        for problem in report["problems"]:
            print("  %(code)s, %(where)s: %(message)s" % problem, file=out)
        if report["unlisted"]:
            print("  and %d more" % report["unlisted"], file=out)


def print_event(entry, out):
    claimed = moment(entry["time"]) if "time" in entry else "?"
    bounds = " ".join("%s %s" % (word, moment(entry[name])) for word, name in
                      (("not before", "not_before"), ("not after", "not_after")) if entry[name] is not None)
    print("%s %d %s %s %s; %s; body %s; %s" % (
        entry["log"], entry["index"], entry["kind"], entry.get("actor", "?"), entry.get("aseq", "?"),
        "signed" if entry.get("signed") else "unsigned", entry.get("body", "?"),
        "claims %s; %s" % (claimed, bounds or "no proof of time")), file=out)
    for name in ("content", "unreadable"):
        if name in entry:
            print("    %s: %s" % (name, json.dumps(entry[name])), file=out)


# --- the command -----------------------------------------------------------------------------

def read_limited(path, limit):
    try:
        with open(path, "rb") as file:
            return file.read(limit + 1)
    except OSError as error:
        raise Usage("io", "cannot read %s: %s" % (path, error.strerror)) from None


def arguments(argv):
    parser = argparse.ArgumentParser(
        description="Judge a mirrordna bundle: was this history altered? Exit status 0 intact, 1 altered, "
                    "3 unproven, 2 wrong use or no bundle.")
    parser.add_argument("bundle", metavar="BUNDLE", help="a *.mdna-bundle or *.mdna-proof file")
    parser.add_argument("--policy", metavar="FILE", help="log keys, witnesses and quorum to trust (C2SP tlog-policy)")
    parser.add_argument("--key", metavar="FINGERPRINT", action="append", default=[],
                        help="SHA-256 of a checkpoint key to trust, 64 hex digits; may be repeated")
    parser.add_argument("--kept", metavar="CHECKPOINT", action="append", default=[],
                        help="a checkpoint file that you kept, to hold the bundle against; may be repeated")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--events", action="store_true", help="list each event with its times")
    parser.add_argument("--show", action="store_true", help="list each event, with contents that were disclosed")
    return parser.parse_args(argv)


def run(options, out):
    policy = read_policy(read_limited(options.policy, MAX_POLICY)) if options.policy else Policy()
    for text in options.key:
        if not HEX64.match(text.lower()):
            raise Usage("usage", "a fingerprint has 64 hex digits")
        policy.fingerprints.add(text.lower())
    kept = []
    for path in options.kept:
        try:
            kept.append(read_checkpoint(read_limited(path, MAX_NOTE)))
        except Refused as reason:
            raise Usage("usage", "%s is no checkpoint: %s" % (path, reason)) from None
    judge = Judge(policy, kept)
    try:
        with open(options.bundle, "rb", 1 << 20) as stream:
            judge.judge(stream)
        report = judge.report()
        events = None
        if options.events or options.show:
            stream = open(options.bundle, "rb", 1 << 20)
            events = list_events(judge, stream, options.show)
        if options.json:
            print_json(report, events, out)
        else:
            print_report(judge, report, out)
            if events is not None:
                print("\nEvents:", file=out)
                for entry in events:
                    print_event(entry, out)
        if events is not None:
            stream.close()
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        raise Usage("io", "cannot read %s: %s" % (options.bundle, error.strerror)) from None
    return EXIT[report["verdict"]]


def print_json(report, events, out):
    """One object; events one a line, so that a long history needs no memory."""
    text = json.dumps(report)
    if events is None:
        print(text, file=out)
        return
    print(text[:-1] + ', "events": [', file=out)
    separator = ""
    for entry in events:
        print(separator + json.dumps(entry), end="", file=out)
        separator = ",\n"
    print("]}", file=out)


def main(argv=None):
    options = arguments(argv)
    try:
        return run(options, sys.stdout)
    except Usage as error:
        if options.json:
            print(json.dumps({"error": {"code": error.code, "message": str(error)}}))
        print("%s: %s" % (error.code, error), file=sys.stderr)
        return 2
    except BrokenPipeError:
        # Whoever read the report has gone; let the interpreter end quietly.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 2


if __name__ == "__main__":
    sys.exit(main())
