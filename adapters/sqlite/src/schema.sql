-- Store format 1. Every column is evidence that verification recomputes or
-- checks by signature; derived data may only live in tables named cache_*,
-- which can be dropped at any time.
--
-- pos = log number * 2^40 + leaf index. One integer key keeps each log's rows
-- together, makes an append touch the right edge only, and needs no index.

CREATE TABLE log (
  n          INTEGER PRIMARY KEY,   -- local number, from 1
  id         BLOB NOT NULL,         -- 16 bytes, field 1 of every header
  size       INTEGER NOT NULL,      -- number of leaves
  time       INTEGER NOT NULL,      -- header time of the last leaf, ms
  frontier   BLOB NOT NULL,         -- right edge of the Merkle tree
  checkpoint TEXT NOT NULL,         -- newest signed checkpoint (C2SP note)
  signed_frontier BLOB NOT NULL,    -- right edge of the tree it signs
  successor  INTEGER                -- number of the log that adopted it, whose leaf 1 says so
) STRICT;

CREATE TABLE head (
  log   INTEGER NOT NULL,
  actor BLOB NOT NULL,              -- SCID digest, 32 bytes
  last  INTEGER NOT NULL,           -- leaf index of the actor's last event
  PRIMARY KEY (log, actor)
) STRICT, WITHOUT ROWID;

CREATE TABLE event (
  pos     INTEGER PRIMARY KEY,
  leaf    BLOB NOT NULL,            -- event header, or COSE_Sign1 around it
  body    BLOB,                     -- public: template; private: commitment and ciphertext
  subject INTEGER,                  -- private: under whose key the secret is wrapped
  secret  BLOB                      -- private: the body's secret (RFC 3394)
) STRICT;

CREATE TABLE subject (
  n   INTEGER PRIMARY KEY,
  log INTEGER NOT NULL,
  tag BLOB NOT NULL,                -- keyed tag of the subject's name
  key BLOB NOT NULL                 -- the subject's key under the store key
) STRICT;
CREATE UNIQUE INDEX subject_tag ON subject(log, tag);

CREATE TABLE tile (
  id   INTEGER PRIMARY KEY,         -- log number * 2^43 + level * 2^40 + number
  data BLOB NOT NULL                -- 256 hashes (C2SP tlog-tiles)
) STRICT;

-- Derived: blocks of sorted segments under a manifest with a MAC. May be
-- dropped at any time; the engine then folds the events again.
CREATE TABLE cache_segment (
  id   INTEGER PRIMARY KEY,         -- log number * 2^43 + segment * 2^20 + block
  data BLOB NOT NULL
) STRICT;

-- For people with the sqlite3 shell.
CREATE VIEW logs AS
  SELECT n, lower(hex(id)) AS log, size, datetime(time / 1000, 'unixepoch') AS last_event, checkpoint FROM log;
CREATE VIEW events AS
  SELECT pos >> 40 AS log, pos & 1099511627775 AS idx,
         CASE substr(leaf, 1, 1) WHEN x'd2' THEN 1 ELSE 0 END AS signed,
         length(leaf) AS leaf_bytes, length(body) AS body_bytes, subject, lower(hex(leaf)) AS leaf
  FROM event;
CREATE VIEW actors AS
  SELECT log, lower(hex(actor)) AS actor, last FROM head;
