//! The one error type of the project.
//!
//! Codes and names are the contract (`spec/errors.yaml`): they are the same in
//! every language and never change meaning. Messages say what was wrong and
//! where; the hint says what to do.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;

/// Result with the project's error.
pub type Result<T, E = Error> = std::result::Result<T, E>;

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $number:literal, $name:literal, $retry:literal, $hint:literal;)*) => {
        /// Stable error code. Numbers and names stand in `spec/errors.yaml`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Code { $($(#[$doc])* $variant,)* }

        impl Code {
            /// All codes, in order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The number of `MDNA-<number>`.
            #[must_use]
            pub const fn number(self) -> u16 { match self { $(Self::$variant => $number,)* } }

            /// The dotted name.
            #[must_use]
            pub const fn name(self) -> &'static str { match self { $(Self::$variant => $name,)* } }

            /// Whether the same call may succeed later without a change.
            #[must_use]
            pub const fn is_retryable(self) -> bool { match self { $(Self::$variant => $retry,)* } }

            /// What to do, where the error itself says nothing better.
            #[must_use]
            pub const fn hint(self) -> &'static str { match self { $(Self::$variant => $hint,)* } }
        }
    };
}

codes! {
    /// An argument has a form or value that is not accepted.
    InputInvalid = 1001, "input.invalid", false, "Correct the named argument and call again.";
    /// Text that should be JSON is not.
    JsonInvalid = 1002, "json.invalid", false, "Send strict JSON (RFC 8259): no duplicate keys, no NaN, no lone surrogates.";
    /// A limit was exceeded.
    LimitExceeded = 1003, "limit.exceeded", false, "Split the input; the limits are listed in docs/limits.md.";
    /// An id has the wrong form or the prefix of another entity.
    IdInvalid = 1004, "id.invalid", false, "Pass an id as it was returned by the engine.";
    /// No record has this id in this tenant.
    NotFound = 1005, "record.not_found", false, "Check the id and the tenant; `mirrordna timeline list` shows what exists.";
    /// A record with this id exists already.
    AlreadyExists = 1006, "record.exists", false, "Choose another id, or update the existing record.";
    /// The session's chain of parents is broken or circular.
    LineageInvalid = 1007, "session.lineage", false, "Name an existing session of the same tenant as parent.";
    /// A configuration value is wrong.
    ConfigInvalid = 1008, "config.invalid", false, "Correct the named key; `mirrordna config` shows the effective values.";
    /// The session has ended.
    SessionEnded = 1009, "session.ended", false, "Start a new session that continues this one.";
    /// A record's chain of predecessors is broken or circular.
    LineageBroken = 1010, "record.lineage", false, "Name an existing record of the same entity and tenant as predecessor.";
    /// A policy, or what it is to be used with, cannot be read.
    PolicyInvalid = 1011, "policy.invalid", false, "Correct the named line; docs/verify.md shows a policy.";
    /// The key that must sign or decrypt is not here.
    KeyMissing = 2001, "key.missing", false, "Bring the keyring file of this database (MIRRORDNA_KEYS), or open it where the key lives. Reads of public facts still work.";
    /// The passphrase does not open the keyring.
    KeyPassphrase = 2002, "key.passphrase", false, "Set MIRRORDNA_PASSPHRASE (or MIRRORDNA_PASSPHRASE_FILE) to the passphrase the keyring was made with.";
    /// The keyring file is damaged or of another database.
    KeyringInvalid = 2003, "keyring.invalid", false, "Restore the keyring from its backup; it is needed to read and sign.";
    /// An identity document is not acceptable.
    IdentityInvalid = 2004, "identity.invalid", false, "Use a DID log that was written for this protocol.";
    /// The key that speaks for the actor in this process is too old.
    KeyExpired = 2005, "key.expired", true, "Try again: a new epoch is opened.";
    /// The provider that holds the keyring's key was not given, or fails.
    KeyProvider = 2010, "key.provider", true, "Set up the provider that the message names, and see whether it answers.";
    /// The identity has ended: nobody writes as it any more.
    IdentityRevoked = 2011, "identity.revoked", false, "Write as another identity (`mirrordna identity create`). What this one wrote before stays, and can be read.";
    /// Evidence does not match what was signed or committed.
    Altered = 3001, "log.altered", false, "Do not write. Run `mirrordna verify` to see what was altered, and restore a copy.";
    /// The content was erased.
    Erased = 3002, "body.erased", false, "Nothing: the content was destroyed on request, its event remains.";
    /// The content is there but its key is not.
    Locked = 3003, "body.locked", false, "Open the database with the keyring that can read it.";
    /// The log is shorter than this machine has seen it.
    RolledBack = 3004, "log.rolled_back", false, "If you restored a backup on purpose, read it with --as-of, or go on from it with `mirrordna fork`. If not, somebody replaced the file: find the newer one.";
    /// The log differs from what this machine has seen.
    Forked = 3005, "log.forked", false, "Somebody rewrote history. Keep both copies, run `mirrordna verify` on each, and read with --as-of. `mirrordna fork` goes on from this one.";
    /// Another log goes on from this one.
    LogClosed = 3006, "log.closed", false, "Open the database again: the engine then writes to the log that goes on.";
    /// There is no database at this place.
    StoreNotFound = 4001, "store.not_found", false, "Check the path, or create a database there with `mirrordna init`.";
    /// The file is no mirrordna database.
    StoreNotDatabase = 4002, "store.not_a_database", false, "Point --store or MIRRORDNA_STORE at a mirrordna database.";
    /// Somebody else uses the store in a way that excludes this use.
    StoreInUse = 4003, "store.in_use", true, "Close the other user of the database, or try again.";
    /// The database is of a newer format.
    StoreNewer = 4004, "store.newer_format", false, "Use a newer mirrordna; this one will not touch the file.";
    /// Reading or writing failed.
    StoreIo = 4005, "store.io", false, "Check disk, permissions and space; then reopen. What was acknowledged before is safe.";
    /// No space is left.
    StoreFull = 4006, "store.full", true, "Free space on the disk and try again; nothing was written.";
    /// The store cannot be written here.
    StoreReadOnly = 4007, "store.read_only", false, "Make the file and its folder writable, or open it for reading.";
    /// A write failed in a way that leaves its outcome open; the store refuses writes.
    StorePoisoned = 4008, "store.poisoned", false, "Close and reopen the database; it verifies what reached the disk.";
    /// The write-ahead log or the file itself was replaced under us.
    StoreReplaced = 4009, "store.replaced", false, "Close the engine and find out what deleted or replaced the file; reopen after that.";
    /// The URL names no store this build can open.
    StoreUrl = 4010, "store.url", false, "Use a path, sqlite:PATH or sqlite:///ABSOLUTE.";
    /// The source of randomness failed.
    Entropy = 4011, "system.entropy", true, "The operating system gave no randomness; nothing was created.";
    /// The engine was closed.
    StoreClosed = 4012, "store.closed", false, "Open the database again; a closed engine does nothing more.";
    /// A legal hold forbids the erasure.
    ErasureHeld = 5001, "erasure.held", false, "Nothing was erased. Release the hold first, if its reason is over: `mirrordna hold list`.";
    /// A receipt of an erasure does not hold, or is of another log.
    ReceiptInvalid = 5002, "erasure.receipt", false, "Use the receipt as it was written, with a database that holds the log it names.";
    /// A call id is taken by another call.
    ToolExists = 5020, "tool.exists", false, "Give each call an id of its own; the same call again returns the first result.";
    /// A call has another outcome already.
    ToolCompleted = 5021, "tool.completed", false, "A call completes once: record another attempt as a call of its own, with attempt_of.";
    /// A call has not completed.
    ToolIncomplete = 5022, "tool.incomplete", false, "Record its outcome first; `mirrordna tool list --open` shows the calls that have none.";
    /// A citation names a call that is not in this tenant's log.
    CitationUnknown = 5023, "citation.unknown", false, "Do not use the answer: nothing records the call that it cites.";
    /// A citation says other things of a call than the log.
    CitationForged = 5024, "citation.forged", false, "Do not use the answer: what it cites was changed.";
    /// A citation is of a call that served another request.
    CitationOtherRequest = 5025, "citation.other_request", false, "Do not use the answer: cite calls that were made for this request.";
    /// A citation names another log than this tenant's.
    CitationOtherTenant = 5026, "citation.other_tenant", false, "Do not use the answer: a citation holds in the log of its own tenant only.";
    /// A citation names a repeated event of a call instead of its own.
    CitationReplayed = 5027, "citation.replayed", false, "Do not use the answer: somebody recorded an outcome of the call a second time.";
    /// A reader of an older state keeps what is left of an erasure.
    ErasurePending = 5030, "erasure.pending", true, "Contents are erased and no read answers from them; remains go when the reader of an older state is gone. Try again then.";
    /// A citation is of a call that its agent no longer stands by.
    CitationDisputed = 5032, "citation.disputed", false, "Do not rest on the answer alone: the agent's keys were stolen, or may have been, when the call was recorded. Ask the agent's owner, or the tool's side.";
    /// A file to import cannot be read.
    ImportUnreadable = 7001, "import.unreadable", false, "Check the path and its permissions.";
    /// A file to import has a format that is not recognised.
    ImportFormat = 7002, "import.format", false, "Name the format: --format chat|upstream|chatgpt|ledger|subject.";
    /// A record to import was refused under --strict.
    ImportRefused = 7003, "import.refused", false, "See the report; leave --strict away to import the rest.";
    /// A file that should be an export is damaged or something else.
    ExportInvalid = 7004, "export.invalid", false, "Take another copy of the export; this one is not whole.";
    /// A file that should be a bundle is something else.
    BundleUnknown = 7005, "bundle.unknown", false, "Name a .mdna-bundle or .mdna-proof file, as `mirrordna prove` and `mirrordna export --audit` make them.";
    /// The files of a witness are damaged.
    WitnessInvalid = 7011, "witness.invalid", false, "Restore nothing older over it. Without its state a witness must not go on: make a new one, with a new key.";
    /// A witness did not cosign a checkpoint.
    WitnessRefused = 7012, "witness.refused", false, "See the message; the checkpoint itself is as good as before.";
    /// A checkpoint, cosignature or time-stamp does not fit this log.
    AnchorInvalid = 7013, "anchor.invalid", false, "Take a checkpoint that `mirrordna checkpoint` printed for this log, and what was made for it.";
    /// The engine contradicts itself.
    Bug = 9001, "internal.bug", false, "This is a defect of mirrordna; please report it with the message.";
}

impl Code {
    /// Exit status of the command line: 10 + first digit of the number.
    #[must_use]
    pub const fn exit_status(self) -> u8 {
        10 + (self.number() / 1000) as u8
    }

    /// The code with this dotted name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|c| c.name() == name)
    }
}

struct Inner {
    code: Code,
    message: Cow<'static, str>,
    hint: Option<Cow<'static, str>>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// What went wrong: a stable [`Code`], a message and a hint.
pub struct Error(Box<Inner>);

impl Error {
    /// An error with a message that says what was wrong and where.
    #[must_use]
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Inner { code, message: message.into(), hint: None, source: None }))
    }

    /// The same with a hint better than the code's own.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// The same with the error that caused it.
    #[must_use]
    pub fn caused_by(mut self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.0.source = Some(Box::new(source));
        self
    }

    /// The stable code.
    #[must_use]
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// What was wrong and where.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// What to do.
    #[must_use]
    pub fn hint(&self) -> &str {
        self.0.hint.as_deref().unwrap_or(self.0.code.hint())
    }

    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.0.code.is_retryable()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MDNA-{} {}: {}", self.0.code.number(), self.0.code.name(), self.0.message)?;
        // An error that prints its own causes must not print them twice, nor a
        // cause that only says the last one again under a number of its own.
        let (mut said, mut cause) = (self.0.message.to_string(), self.source());
        let mut last = said.clone();
        while let Some(c) = cause {
            let text = c.to_string();
            if !said.contains(&text) && !text.ends_with(&last) {
                write!(f, ": {text}")?;
                said.push_str(&text);
                last = text;
            }
            cause = c.source();
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_ref().map(|s| &**s as _)
    }
}

impl From<mirrordna_verify::Malformed> for Error {
    fn from(e: mirrordna_verify::Malformed) -> Self {
        Self::new(Code::Altered, e.to_string())
    }
}
