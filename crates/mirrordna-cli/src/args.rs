//! What can be typed. `docs/cli.md`, the manual pages and the completions are
//! generated from here.

use clap::builder::PossibleValuesParser;
use clap::{ArgGroup, Parser, Subcommand, ValueEnum, ValueHint};
use std::path::PathBuf;

/// Heading of the options that every command has.
const GLOBAL: &str = "Global options";
/// The version; of a build for figures also that it does not verify.
const VERSION: &str = if mirrordna::VERIFIES { env!("CARGO_PKG_VERSION") } else { concat!(env!("CARGO_PKG_VERSION"), " unverified") };
/// Words for tiers.
const TIERS: [&str; 3] = ["short_term", "long_term", "episodic"];

/// Provable identity, sessions, memory and a verifiable timeline for AI agents.
#[derive(Debug, Parser)]
#[command(
    name = "mirrordna",
    version = VERSION,
    after_help = "Examples:
  mirrordna quickstart
  mirrordna init
  mirrordna import chat.jsonl
  mirrordna recall \"when did we pick the venue?\"
  mirrordna verify

Exit status: 0 done; 1 altered and 3 unproven (verify, doctor); 2 wrong usage;
10 + the first digit of an error's code (MDNA-4001: 14)."
)]
pub(crate) struct Args {
    /// Database: a path, sqlite:PATH, sqlite:///ABSOLUTE or redb:PATH.
    /// By default MIRRORDNA_STORE, else the configuration file, else ./mirrordna.db.
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "URL|PATH", value_hint = ValueHint::FilePath)]
    pub(crate) store: Option<String>,
    /// Print JSON: results on standard output, errors on standard error.
    #[arg(long, global = true, help_heading = GLOBAL)]
    pub(crate) json: bool,
    /// Read the database as of the state in which it is found, even if this
    /// machine has seen a newer or another one; every answer says so.
    #[arg(long, global = true, help_heading = GLOBAL)]
    pub(crate) as_of: bool,
    /// Whether to use colour; auto is on a terminal, unless NO_COLOR is set.
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "WHEN", default_value = "auto", hide_possible_values = true)]
    pub(crate) color: Color,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create a database and its keyring.
    #[command(after_help = "Examples:
  mirrordna init
  MIRRORDNA_PASSPHRASE_FILE=/run/secrets/mirrordna mirrordna --store ./agents.db init")]
    Init,
    /// Show everything once, on a sample conversation in a new folder.
    #[command(after_help = "Examples:
  mirrordna quickstart
  mirrordna quickstart /tmp/try")]
    Quickstart {
        /// Folder to create; by default ./mirrordna-quickstart.
        #[arg(value_hint = ValueHint::DirPath)]
        folder: Option<PathBuf>,
    },
    /// Create and show identities, and change their keys.
    #[command(subcommand)]
    Identity(IdentityCommand),
    /// Start, end and show sessions.
    #[command(subcommand)]
    Session(SessionCommand),
    /// Add a memory.
    #[command(after_help = "Examples:
  mirrordna remember \"Prefers trains to planes\" --identity Ada --tag travel
  mirrordna remember \"The boathouse is booked\" --session sess_01jt… --tier episodic
  git log -1 --format=%B | mirrordna remember - --identity Ada")]
    Remember(Remember),
    /// Find memories, best first.
    #[command(after_help = "Examples:
  mirrordna recall \"when did we pick the venue?\"
  mirrordna recall venue --identity Ada --limit 3 --json | jq -r '.hits[].text'")]
    Recall(Recall),
    /// Show, change and archive memories.
    #[command(subcommand)]
    Memory(MemoryCommand),
    /// Append, show, follow and export events.
    #[command(subcommand)]
    Timeline(TimelineCommand),
    /// Capture, compare and restore snapshots of an agent.
    #[command(subcommand)]
    Snapshot(SnapshotCommand),
    /// Record calls of tools; cite them, and check what is cited.
    #[command(subcommand)]
    Tool(crate::commands::ToolCommand),
    /// State that calls belong together, and write what proves it to a file.
    #[command(after_help = "The file is judged by `mirrordna verify FILE --key FINGERPRINT`, with nothing but
the signer's fingerprint. It discloses what the log has of these calls, and the
statement, and no other content. Links that are missing (calls that are not
recorded, or never completed) are listed, and stated too: exit status 1.

Examples:
  mirrordna evidence --call call_01jt… --call call_01jv… --finding F-7 --out F-7.mdna-proof
  mirrordna evidence --call call_01jt… --check --json | jq .missing_links")]
    Evidence(crate::commands::Evidence),
    /// Make, show and check master citations.
    #[command(subcommand)]
    Citation(crate::commands::CitationCommand),
    /// Import chats and vaults.
    #[command(after_help = "A chat is JSON Lines, a turn a line: speaker|role, text|content, and timestamp,
session, id, ns, seq where there are any; other keys become metadata. A folder
is searched: what is of none of the formats, such as a README, is skipped and
listed; what is damaged is refused. A second import of the same file appends
nothing, and a killed one is taken up by the next. A call ledger is JSON, a
record a call; its digests are made again where the content is beside them.

Examples:
  mirrordna import chat.jsonl
  mirrordna import ./vault --format upstream --strict
  mirrordna import ./exports --json | jq '.refused'")]
    Import(Import),
    /// Write the whole database, without keys, to a file.
    #[command(after_help = "Contents stay encrypted in the file; who restores it needs the keyring to read
them, and nothing to verify them.

Examples:
  mirrordna export backup.mdna
  mirrordna --store ./restored.db restore backup.mdna
  mirrordna export --subject Sam sam.jsonl
  mirrordna export --audit ./for-the-auditor")]
    Export(Export),
    /// Prove events to somebody who has nothing but the log's fingerprint.
    #[command(after_help = "The file holds the events, a proof for each that it is in the log, and what shows
whose it is. Contents stay encrypted in it, unless --disclose hands out their
secrets. `mirrordna verify`, verify.py and verify.html of an audit judge it.

Examples:
  mirrordna prove 4711 --out booking.mdna-proof
  mirrordna prove --record mem_01jt… --disclose --out memory.mdna-proof
  mirrordna prove --session sess_01jt… --linked --out session.mdna-proof
  mirrordna verify booking.mdna-proof --key FINGERPRINT")]
    Prove(Prove),
    /// Restore an export into a new database.
    #[command(after_help = "Examples:
  mirrordna --store ./restored.db restore backup.mdna
  mirrordna verify ./restored.db")]
    Restore {
        /// The export.
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
    },
    /// Destroy contents; their events stay, and say so.
    #[command(after_help = "Nothing can bring an erased content back, and every proof of the history holds as
before. Copies, exports and backups made before still hold it; of a database
restored from one it is erased again by its receipt.

Examples:
  mirrordna erase --subject Sam --dry-run
  mirrordna erase --subject Sam --reason subject --receipt sam.json
  mirrordna erase --id mem_01jt…
  mirrordna erase --id call_01jt… --dry-run --json | jq .schemas
  mirrordna erase --replay sam.json")]
    Erase(crate::commands::Erase),
    /// Forbid that something is erased, for legal reasons.
    #[command(subcommand)]
    Hold(crate::commands::HoldCommand),
    /// Set how old records may become, and erase those that are older.
    #[command(subcommand)]
    Retention(crate::commands::RetentionCommand),
    /// Record what people consent to.
    #[command(subcommand)]
    Consent(crate::commands::ConsentCommand),
    /// Bring a log of another database, and its identities, into this one.
    #[command(after_help = "FILE is an export of the other database. It is verified, and its log kept as it
is, closed: what it holds is read and searched as this database's own, proven,
and erased, but not changed. With --keys-from its contents can be read, and its
identities go on here, each with its next event. Without it they stay locked;
adopting the file again with the keys opens them. Killed, it leaves nothing.

Examples:
  mirrordna adopt laptop.mdna --keys-from ~/laptop-keys
  mirrordna adopt --list
  mirrordna adopt both-tenants.mdna --log 3f9c")]
    Adopt(Adopt),
    /// Go on from a state that this machine has seen newer, or otherwise.
    #[command(after_help = "A database that was rolled back, or restored from an older backup, is refused
(log.rolled_back, log.forked). Read it first: `mirrordna --as-of timeline list`.
If its state is right, a fork closes its logs as they are and begins new ones
that name them; nothing is changed or lost. What is newer elsewhere is refused
here from then on.

Examples:
  mirrordna verify            # says how many events there are, and what is wrong
  mirrordna fork --accept-head 2960 --reason \"the disk was lost; backup of 3 May\"")]
    Fork(Fork),
    /// Check that nothing was altered: exit status 0 intact, 1 altered, 3 unproven.
    #[command(after_help = "Status 3 (unproven) means: consistent, but nothing you trust vouches for it.
Give the fingerprint that the owner told you by another way with --key.
An export is verified as the database that it holds, which takes somewhat more
memory than the file is long.
With --headers no private body is read: headers, chains, trees, signatures and
public bodies are checked, and that bodies are there. An altered body or secret,
and damage to the file's own structure, are not found then.

Examples:
  mirrordna verify
  mirrordna verify --headers
  mirrordna verify backup.mdna
  mirrordna verify copy.db --key 3f9c…
  mirrordna verify --json | jq -r '.problems[] | .where + \": \" + .message'")]
    Verify(Verify),
    /// Sign and print a checkpoint of the log, have witnesses cosign it, record that.
    #[command(after_help = "A checkpoint that somebody else keeps, or cosigned, cannot be contradicted later
without notice. Recorded (--anchor), cosignatures also bound the times of events.
A time-stamp's certificate is not judged here: `openssl ts -verify` does that.

Examples:
  mirrordna checkpoint > kept.checkpoint
  mirrordna checkpoint --vkey
  mirrordna checkpoint --witness ./witness --anchor
  mirrordna checkpoint --witness http://127.0.0.1:8300 --witness-key KEY --anchor
  mirrordna checkpoint --request 0 | curl --data-binary @- https://witness.example/add-checkpoint
  mirrordna checkpoint --timestamp-request it.tsq > it.checkpoint
  mirrordna checkpoint --of it.checkpoint --timestamp-request it.tsq --timestamp-response it.tsr")]
    Checkpoint(crate::commands::CheckpointArgs),
    /// Watch that the logs of others only grow, and cosign them.
    #[command(subcommand)]
    Witness(crate::commands::WitnessCommand),
    /// Look at the database, its keys and its head witness, and say what to mend.
    #[command(after_help = "Exit status as of verify.

Examples:
  mirrordna doctor
  mirrordna doctor --json | jq '.checks[] | select(.ok | not)'")]
    Doctor,
    /// Protect the keyring.
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Show the effective configuration and where each value comes from.
    #[command(after_help = "The configuration file is $MIRRORDNA_CONFIG, else ./mirrordna.toml, else
$XDG_CONFIG_HOME/mirrordna/config.toml:

  store = \"./agents.db\"
  keys = \"/secure/keys\"
  state = \"/var/lib/mirrordna\"   # or \"off\"
  durability = \"full\"            # or \"normal\"
  seals = \"bounded\"              # or \"every-event\"
  profile = \"production\"         # or \"development\"

Arguments win over the environment (MIRRORDNA_STORE, MIRRORDNA_KEYS,
MIRRORDNA_STATE, MIRRORDNA_DURABILITY, MIRRORDNA_SEALS, MIRRORDNA_PROFILE), that
over the file. The profile production refuses to start without a passphrase or a
key provider, without a head witness, or with files that others may write.

Examples:
  mirrordna config
  MIRRORDNA_STORE=agents.db mirrordna config --json | jq -r .store.from")]
    Config,
    /// Print a completion script for a shell.
    #[command(after_help = "Examples:
  mirrordna completions bash > ~/.local/share/bash-completion/completions/mirrordna
  mirrordna completions zsh > ~/.zfunc/_mirrordna
  mirrordna completions fish > ~/.config/fish/completions/mirrordna.fish")]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page of a command, or write all pages.
    #[command(after_help = "Examples:
  mirrordna man | man -l -
  mirrordna man timeline tail | man -l -
  mirrordna man --folder ~/.local/share/man/man1")]
    Man {
        /// The command; by default mirrordna itself.
        command: Vec<String>,
        /// Write the pages of all commands into this folder instead.
        #[arg(long, value_name = "FOLDER", value_hint = ValueHint::DirPath, conflicts_with = "command")]
        folder: Option<PathBuf>,
    },
}

/// `keys …`
#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Give the keyring a passphrase, or another one.
    #[command(after_help = "The new one is read from MIRRORDNA_NEW_PASSPHRASE, or from the file that
MIRRORDNA_NEW_PASSPHRASE_FILE names; the present one, if there is one, from
MIRRORDNA_PASSPHRASE or MIRRORDNA_PASSPHRASE_FILE. Nobody may have the database
open meanwhile. Older copies of the keyring still open by what opened them.

Examples:
  MIRRORDNA_NEW_PASSPHRASE_FILE=/run/secrets/new mirrordna keys passphrase
  MIRRORDNA_PASSPHRASE_FILE=/run/secrets/old MIRRORDNA_NEW_PASSPHRASE_FILE=/run/secrets/new mirrordna keys passphrase")]
    Passphrase,
    /// List the keys that have signed the log's checkpoints, and which one does now.
    #[command(after_help = "SINCE is the size of the log from which a key signs, LEAF the event that brought it.
Who trusts one of these keys comes to trust the later ones by what stands in the log.

Examples:
  mirrordna keys list
  mirrordna keys list --json | jq -r .items[-1].verifier_key")]
    List,
    /// Make a new key: the keyring's own, the store key, or the log's.
    #[command(after_help = "Without --store-key and --log: every key of the keyring is encrypted anew, under a new
key that is protected as before or as --to says. Nobody may have the database open.

With --store-key: the keys of all subjects are wrapped by a new store key, in steps,
while others go on. No event or proof changes. Cut short, it is completed by the
next one. The old store key stays in the keyring, for older copies of the database.

With --log: the log's checkpoints are signed by a new key, while others go on. The
bridge, a checkpoint by both keys, stands in the log: who trusts the old key trusts
the new one by it. The old key is destroyed. Witnesses are told with `witness trust`.
It is for keys that are old; a stolen one is left with `mirrordna fork`.

--to passphrase reads the new one as `keys passphrase` does. --to file takes the
file that MIRRORDNA_NEW_KEK_FILE names, else MIRRORDNA_KEK_FILE; it holds 32 random
bytes or their base64, and only its owner may read it.

Examples:
  MIRRORDNA_PASSPHRASE_FILE=/run/secrets/phrase mirrordna keys rotate
  MIRRORDNA_KEK_FILE=/run/secrets/kek mirrordna keys rotate --to file
  mirrordna keys rotate --store-key
  mirrordna keys rotate --log")]
    Rotate {
        /// Make a new store key, not a new key for the keyring.
        #[arg(long, conflicts_with = "log")]
        store_key: bool,
        /// Make a new key for the log's checkpoints.
        #[arg(long)]
        log: bool,
        /// What is to protect the keyring: passphrase, or the name of a key provider.
        #[arg(long, value_name = "WHAT", conflicts_with_all = ["store_key", "log"])]
        to: Option<String>,
    },
    /// Sign checkpoints by ML-DSA-44 (FIPS 204), too, from now on.
    #[command(after_help = "Whoever could forge Ed25519 one day, with a quantum computer, could not forge these
lines. Every checkpoint that leaves (checkpoint, prove, export --audit, export
--tiles, receipts of erasures) has one then, 3,300 characters long; what is stored
and every commit stay as they are. The key is made once, for all logs of the
database, and lies in the keyring: back that up. This build must have feature pq.

Examples:
  mirrordna keys pq
  printf 'log %s\\n' \"$(mirrordna checkpoint --pq-vkey)\" > policy")]
    Pq,
}

/// `identity …`
#[derive(Debug, Subcommand)]
pub(crate) enum IdentityCommand {
    /// Create an identity, and the database where there is none.
    #[command(after_help = "Examples:
  mirrordna identity create agent --name Ada
  SAM=$(mirrordna identity create user --name Sam)")]
    Create {
        /// What it is.
        #[arg(value_enum)]
        kind: Kind,
        /// Name for people.
        #[arg(long)]
        name: Option<String>,
        /// What it is for.
        #[arg(long)]
        description: Option<String>,
        /// JSON, kept verbatim.
        #[arg(long, value_name = "JSON")]
        metadata: Option<String>,
    },
    /// Show all identities.
    #[command(after_help = "Examples:
  mirrordna identity list
  mirrordna identity list --json | jq -r '.identities[].id'
  mirrordna identity list --limit 100 --after \"$next\" --json")]
    List {
        #[command(flatten)]
        paging: Paging,
    },
    /// Show one identity.
    #[command(after_help = "Examples:
  mirrordna identity show Ada
  mirrordna identity show mdna_agt_2322717e")]
    Show {
        /// Id, its beginning, or a name.
        identity: String,
    },
    /// Give an identity another key.
    #[command(after_help = "Processes that write as this identity go on with the new key at their next
write. What was written before stays as it was.

Examples:
  mirrordna identity rotate Ada")]
    Rotate {
        /// Id, its beginning, or a name.
        identity: String,
    },
    /// Take an identity back with its recovery key.
    #[command(after_help = "All other keys of the identity are dead afterwards. The recovery key is used up;
a new one is in the recovery file beside the keyring, to be moved away again.

Examples:
  mirrordna identity recover Ada --recovery-file /media/stick/ada.recovery
  mirrordna identity recover Ada --recovery-file ada.recovery --last-trusted 117")]
    Recover {
        /// Id, its beginning, or a name.
        identity: String,
        #[command(flatten)]
        source: RecoverySource,
        /// Position of the last event that its owner stands by: all that it wrote
        /// after that is disputed. Without it nothing is.
        #[arg(long, value_name = "POSITION")]
        last_trusted: Option<u64>,
    },
    /// End an identity for good, or one epoch of it whose key was stolen.
    #[command(group = ArgGroup::new("revoked").required(true).args(["reason", "epoch"]), after_help = "What it wrote stays and can be read.

Examples:
  mirrordna identity revoke Ada --reason \"the project ended\"
  mirrordna identity revoke Ada --epoch 2 --last-trusted 40")]
    Revoke {
        /// Id, its beginning, or a name.
        identity: String,
        /// End the identity; why, for the log (encrypted).
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
        /// End the epoch that the identity's event with this number opened.
        #[arg(long, value_name = "NUMBER")]
        epoch: Option<u64>,
        /// Number, among the identity's events, of the last one up to which the
        /// epoch is trusted: what it wrote after that is disputed.
        #[arg(long, value_name = "NUMBER", requires = "epoch")]
        last_trusted: Option<u64>,
    },
    /// Show the versions of an identity, oldest first.
    #[command(after_help = "Examples:
  mirrordna identity log Ada
  mirrordna identity log Ada --at 117 --json | jq '.versions[-1].keys[0]'
  mirrordna identity log Ada --did > did.jsonl")]
    Log {
        /// Id, its beginning, or a name.
        identity: String,
        /// As the events up to this position left it.
        #[arg(long, value_name = "POSITION")]
        at: Option<u64>,
        /// Print its DID log (did:webvh 1.0), as other resolvers read it.
        #[arg(long)]
        did: bool,
    },
}

/// Where a recovery key comes from.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub(crate) struct RecoverySource {
    /// The recovery file, or the line of it for this identity in a file.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) recovery_file: Option<PathBuf>,
    /// Read the same from standard input.
    #[arg(long)]
    pub(crate) stdin: bool,
}

/// Kinds of identities that can be created.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Kind {
    /// A software agent.
    Agent,
    /// A person.
    User,
}

/// `session …`
#[derive(Debug, Subcommand)]
pub(crate) enum SessionCommand {
    /// Start a session.
    #[command(after_help = "Examples:
  mirrordna session start --agent Ada --user Sam
  mirrordna session start --agent Ada --user Sam --parent sess_01jt…")]
    Start {
        /// The agent: id or name.
        #[arg(long)]
        agent: String,
        /// The user: id or name.
        #[arg(long)]
        user: String,
        /// The session it continues.
        #[arg(long, value_name = "SESSION")]
        parent: Option<String>,
    },
    /// End a session.
    #[command(after_help = "Examples:
  mirrordna session end sess_01jt…
  mirrordna session end sess_01jt… --final-state '{\"booked\":true}'")]
    End {
        /// Its id.
        session: String,
        /// JSON, kept verbatim.
        #[arg(long, value_name = "JSON")]
        final_state: Option<String>,
    },
    /// Show sessions, oldest first.
    #[command(after_help = "Examples:
  mirrordna session list
  mirrordna session list --agent Ada --json | jq '.sessions | length'
  mirrordna session list --limit 100 --after \"$next\" --json | jq -r '.next // empty'")]
    List {
        /// Only of this agent: id or name.
        #[arg(long)]
        agent: Option<String>,
        #[command(flatten)]
        paging: Paging,
    },
    /// Show a session and those it continues, oldest first.
    #[command(after_help = "Examples:
  mirrordna session show sess_01jt…")]
    Show {
        /// Its id.
        session: String,
    },
}

/// `remember …`
#[derive(Debug, clap::Args)]
pub(crate) struct Remember {
    /// The text, or `-` to read it from standard input.
    pub(crate) text: String,
    /// The agent: id or name; may be left away where there is one.
    #[arg(long)]
    pub(crate) identity: Option<String>,
    /// The session it belongs to.
    #[arg(long, conflicts_with = "identity")]
    pub(crate) session: Option<String>,
    /// How long it should matter.
    #[arg(long, default_value = "long_term", value_parser = PossibleValuesParser::new(TIERS))]
    pub(crate) tier: String,
    /// A label; may be repeated.
    #[arg(long)]
    pub(crate) tag: Vec<String>,
    /// Whose data it is.
    #[arg(long)]
    pub(crate) subject: Option<String>,
}

/// `recall …`
#[derive(Debug, clap::Args)]
pub(crate) struct Recall {
    /// What to look for.
    pub(crate) query: String,
    /// Only memories of this agent: id, name or namespace.
    #[arg(long)]
    pub(crate) identity: Option<String>,
    /// At most this many.
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(crate) limit: usize,
}

/// `memory …`
#[derive(Debug, Subcommand)]
pub(crate) enum MemoryCommand {
    /// Show memories in order of writing, without the archived ones.
    #[command(after_help = "A script goes on --after the id in `next` of the page before, until that is
null: what is written or archived meanwhile shifts offsets, but no id.

Examples:
  mirrordna memory list
  mirrordna memory list --identity Ada --limit 20 --archived
  mirrordna memory list --limit 500 --after \"$next\" --json | jq -r '.next // empty'
  mirrordna memory list --session sess_01jt… --json | jq -r '.memories[].content'")]
    List {
        /// Only of this agent: id or name.
        #[arg(long)]
        identity: Option<String>,
        /// Only of this session, also where it has ended.
        #[arg(long, conflicts_with = "identity")]
        session: Option<String>,
        /// Leave away this many at the beginning.
        #[arg(long, value_name = "N", default_value_t = 0)]
        offset: usize,
        #[command(flatten)]
        paging: Paging,
        /// With the archived ones.
        #[arg(long)]
        archived: bool,
    },
    /// Show one memory, also where it is archived.
    #[command(after_help = "Examples:
  mirrordna memory show mem_01jt…
  mirrordna memory show mem_01jt… --json | jq -r .content")]
    Show {
        /// Its id.
        memory: String,
    },
    /// Show all events of a memory, oldest first.
    #[command(after_help = "Examples:
  mirrordna memory history mem_01jt…
  mirrordna memory history mem_01jt… --json | jq -r '.history[].content // empty'")]
    History {
        /// Its id.
        memory: String,
    },
    /// Change text, tier, tags or metadata of a memory; its history keeps the old.
    #[command(
        group(ArgGroup::new("change").required(true).multiple(true).args(["text", "tier", "tag", "no_tags", "metadata"])),
        after_help = "What is not named stays as it is. Tags that are given take the place of all old ones.

Examples:
  mirrordna memory update mem_01jt… \"Prefers night trains\"
  mirrordna memory update mem_01jt… --tier long_term --tag travel --tag rail
  fmt -80 notes.txt | mirrordna memory update mem_01jt… -"
    )]
    Update(UpdateMemory),
    /// Put a memory out of lists and recall; by its id it stays readable.
    #[command(after_help = "Nothing is erased: `memory show` and `memory history` still find it.

Examples:
  mirrordna memory archive mem_01jt…")]
    Archive {
        /// Its id.
        memory: String,
    },
}

/// `memory update …`
#[derive(Debug, clap::Args)]
pub(crate) struct UpdateMemory {
    /// Its id.
    pub(crate) memory: String,
    /// The new text, or `-` to read it from standard input.
    pub(crate) text: Option<String>,
    /// How long it should matter.
    #[arg(long, value_parser = PossibleValuesParser::new(TIERS))]
    pub(crate) tier: Option<String>,
    /// A label; may be repeated.
    #[arg(long)]
    pub(crate) tag: Vec<String>,
    /// Take all labels away.
    #[arg(long, conflicts_with = "tag")]
    pub(crate) no_tags: bool,
    /// JSON, kept verbatim.
    #[arg(long, value_name = "JSON")]
    pub(crate) metadata: Option<String>,
}

/// `timeline …`
#[derive(Debug, Subcommand)]
pub(crate) enum TimelineCommand {
    /// Append an event.
    #[command(after_help = "Examples:
  mirrordna timeline append booking.requested '{\"from\":\"Basel\"}' --identity Ada
  mirrordna timeline append shift.ended --identity Ada")]
    Append {
        /// What happened: any name of at most 512 bytes without control
        /// characters; dotted ones, as in the examples, sort well.
        event_type: String,
        /// JSON, kept verbatim.
        payload: Option<String>,
        /// The actor: id or name.
        #[arg(long)]
        identity: String,
        /// Whose data it is: `erase --subject` takes it then.
        #[arg(long, value_name = "NAME")]
        subject: Option<String>,
    },
    /// Show events, oldest first; with --json one event a line.
    #[command(after_help = "A script that reads page by page goes on --from the last leaf it saw plus one.

Examples:
  mirrordna timeline list --since 2h
  mirrordna timeline list --identity Ada --limit 20
  mirrordna timeline list --from 1024 --limit 500 --json
  mirrordna timeline list --json | jq -r 'select(.event_type) | .event_type'")]
    List {
        #[command(flatten)]
        scope: Scope,
        /// At most this many.
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
    },
    /// Show one event.
    #[command(after_help = "Examples:
  mirrordna timeline show 15
  mirrordna timeline show 15 --json | jq -r .payload")]
    Show {
        /// Its leaf number.
        leaf: u64,
    },
    /// Show the last events, then each new one as it comes, until ctrl-C.
    #[command(after_help = "Events of other processes come too, each once and in order. To go on later
without missing one, follow --from the last leaf that was seen plus one.

Examples:
  mirrordna timeline tail
  mirrordna timeline tail --identity Ada --limit 0 --json
  mirrordna timeline tail --from 1024 --json | while read -r event; do …; done")]
    Tail {
        #[command(flatten)]
        scope: Scope,
        /// How many events that are there already to begin with; all of them
        /// where --from or --since is given, 10 otherwise.
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
    },
    /// Write events as JSON Lines to a file, or to standard output.
    #[command(after_help = "The lines are those of `timeline list --json`: leaf, hash, time, kind, actor,
aseq, signed, body, and record, event_type, session, occurred_at and payload
where the event has them.

Examples:
  mirrordna timeline export events.jsonl
  mirrordna timeline export --since 2026-03-01 | gzip > march.jsonl.gz")]
    Export {
        /// The file; it must not exist. Without it, standard output.
        #[arg(value_hint = ValueHint::FilePath)]
        file: Option<PathBuf>,
        #[command(flatten)]
        scope: Scope,
        /// At most this many.
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
    },
}

/// Which part of a list.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Paging {
    /// Only what comes after this id: `next` of the page before.
    #[arg(long, value_name = "ID")]
    pub(crate) after: Option<String>,
    /// At most this many.
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<usize>,
}

/// Which events.
#[derive(Debug, clap::Args)]
pub(crate) struct Scope {
    /// Only of this actor: id or name.
    #[arg(long)]
    pub(crate) identity: Option<String>,
    /// From this leaf on.
    #[arg(long, value_name = "LEAF")]
    pub(crate) from: Option<u64>,
    /// From this time on: 2026-03-02, 2026-03-02T09:30:00Z, or 90s, 15m, 2h, 7d ago.
    #[arg(long, value_name = "TIME", conflicts_with = "from")]
    pub(crate) since: Option<String>,
}

/// `snapshot …`
#[derive(Debug, Subcommand)]
pub(crate) enum SnapshotCommand {
    /// Capture the state of an agent.
    #[command(after_help = "Examples:
  mirrordna snapshot capture --identity Ada
  mirrordna snapshot capture --metadata '{\"why\":\"before the upgrade\"}'")]
    Capture {
        /// The agent: id or name; may be left away where there is one.
        #[arg(long)]
        identity: Option<String>,
        /// JSON, kept in the snapshot.
        #[arg(long, value_name = "JSON")]
        metadata: Option<String>,
    },
    /// Show all snapshots, oldest first.
    #[command(after_help = "Examples:
  mirrordna snapshot list
  mirrordna snapshot list --json | jq -r '.snapshots[-1].snapshot_id'")]
    List,
    /// Print the document of a snapshot as JSON or YAML.
    #[command(after_help = "Examples:
  mirrordna snapshot show snap_01jt…
  mirrordna snapshot show snap_01jt… --yaml > snapshot.yaml")]
    Show {
        /// Its id.
        snapshot: String,
        /// As YAML instead of JSON.
        #[arg(long, conflicts_with = "json")]
        yaml: bool,
    },
    /// Show what changed from one snapshot to another.
    #[command(after_help = "Examples:
  mirrordna snapshot compare snap_01jt… snap_01jv…")]
    Compare {
        /// Id of the first.
        first: String,
        /// Id of the second.
        second: String,
    },
    /// Bring an agent's memories back to their state in a snapshot.
    #[command(after_help = "Nothing is lost: what the snapshot does not know is archived, and the way back
is a snapshot of before.

Examples:
  mirrordna snapshot restore snap_01jt…")]
    Restore {
        /// Its id.
        snapshot: String,
    },
}

/// `import …`
#[derive(Debug, clap::Args)]
pub(crate) struct Import {
    /// Files and folders.
    #[arg(required = true, value_hint = ValueHint::AnyPath)]
    pub(crate) paths: Vec<PathBuf>,
    /// How to read them; auto looks at their names, and into them.
    #[arg(long, default_value = "auto", value_parser = PossibleValuesParser::new(["auto", "upstream", "chat", "chatgpt", "ledger", "subject"]))]
    pub(crate) format: String,
    /// Make any refused record an error.
    #[arg(long)]
    pub(crate) strict: bool,
}

/// What `export` takes.
#[derive(Debug, clap::Args)]
#[command(group = ArgGroup::new("what").required(true))]
pub(crate) struct Export {
    /// The file; it must not exist.
    #[arg(value_hint = ValueHint::FilePath, group = "what")]
    pub(crate) file: Option<PathBuf>,
    /// Write an auditor's kit to a new folder instead: everything that was signed,
    /// in one bundle, and what judges it on a machine without mirrordna.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, group = "what")]
    pub(crate) audit: Option<PathBuf>,
    /// Only what is about this subject, in clear, as JSON Lines that `import`
    /// reads.
    #[arg(long, value_name = "NAME", conflicts_with = "audit")]
    pub(crate) subject: Option<String>,
    /// Write the log as a folder of static files (C2SP tlog-tiles), up to its
    /// newest checkpoint; a folder that has an earlier state gets what is new.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, group = "what")]
    pub(crate) tiles: Option<PathBuf>,
    /// With --audit: also hand out the secrets of all contents.
    #[arg(long, requires = "audit", conflicts_with = "withhold")]
    pub(crate) disclose: bool,
    /// With --audit: not even the encrypted contents, only their lengths.
    #[arg(long, requires = "audit")]
    pub(crate) withhold: bool,
    #[command(flatten)]
    pub(crate) under: Under,
}

/// Under which checkpoint a bundle is made.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Under {
    /// For a bundle: up to this checkpoint of the log instead of the newest, with
    /// its cosignatures, as `checkpoint --witness` printed it; for each log of the
    /// database one may be given.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) checkpoint: Vec<PathBuf>,
    /// For a bundle: up to the newest cosigned checkpoint that is recorded in the
    /// log (`checkpoint --anchor`).
    #[arg(long, conflicts_with = "checkpoint")]
    pub(crate) witnessed: bool,
    /// With --witnessed: the newest that has the quorum of this policy.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "witnessed")]
    pub(crate) policy: Option<PathBuf>,
}

/// What `prove` takes.
#[derive(Debug, clap::Args)]
#[command(group = ArgGroup::new("what").required(true).multiple(true))]
pub(crate) struct Prove {
    /// Numbers of events, as `timeline list` shows them.
    #[arg(value_name = "EVENT", group = "what")]
    pub(crate) events: Vec<u64>,
    /// Everything that was ever said of a record, by its id.
    #[arg(long, value_name = "ID", group = "what")]
    pub(crate) record: Vec<String>,
    /// Every event of a session.
    #[arg(long, value_name = "ID", group = "what")]
    pub(crate) session: Vec<String>,
    /// Hand out the secrets of these events: whoever has the file reads them.
    #[arg(long)]
    pub(crate) disclose: bool,
    /// Show what their actors did in between too, by headers only: then it is
    /// seen that nothing was left out.
    #[arg(long)]
    pub(crate) linked: bool,
    /// What it is about, for people.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) label: String,
    #[command(flatten)]
    pub(crate) under: Under,
    /// The file; it must not exist. By default <first event>.mdna-proof.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) out: Option<PathBuf>,
}

/// `verify …`
#[derive(Debug, clap::Args)]
pub(crate) struct Verify {
    /// Another database than --store names, an export, a bundle, a proof, or the
    /// folder of an auditor's kit.
    #[arg(value_name = "STORE|FILE|DIR", value_hint = ValueHint::AnyPath)]
    pub(crate) target: Option<String>,
    /// Log key to trust: its fingerprint, 64 hex digits, or the key itself, as
    /// `checkpoint --vkey` prints it; may be repeated.
    #[arg(long, value_name = "FINGERPRINT")]
    pub(crate) key: Vec<String>,
    /// File that says whom to trust: C2SP tlog-policy, or one fingerprint a line.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) policy: Option<PathBuf>,
    /// A checkpoint that was kept, which the history must not contradict; its
    /// cosignatures count toward the quorum of the policy. May be repeated.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) kept: Vec<PathBuf>,
    /// For a bundle: print each event that was asked for, with its content where
    /// that is disclosed.
    #[arg(long)]
    pub(crate) events: bool,
    /// Read no private body: headers, chains, trees and signatures only. What
    /// was not read is counted, and an altered body is not found.
    #[arg(long)]
    pub(crate) headers: bool,
}

/// What `adopt` takes.
#[derive(Debug, clap::Args)]
#[command(group = ArgGroup::new("which").required(true))]
pub(crate) struct Adopt {
    /// The export.
    #[arg(value_hint = ValueHint::FilePath, group = "which")]
    pub(crate) file: Option<PathBuf>,
    /// The keyring of the other database, or the folder that it is in.
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath, conflicts_with = "list")]
    pub(crate) keys_from: Option<PathBuf>,
    /// A file whose first line is the passphrase of that keyring; without it what
    /// opens this database's own is tried.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "keys_from")]
    pub(crate) keys_from_passphrase_file: Option<PathBuf>,
    /// Which log, by the beginning of its id, where the export holds several that
    /// are open.
    #[arg(long, value_name = "ID", conflicts_with = "list")]
    pub(crate) log: Option<String>,
    /// Show what was adopted: id, first event, number of events, and whether its
    /// contents can be read.
    #[arg(long, group = "which")]
    pub(crate) list: bool,
}

/// What `fork` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Fork {
    /// Number of events that the database holds, as `verify` says it.
    #[arg(long, value_name = "N")]
    pub(crate) accept_head: u64,
    /// Why this state is right; it is recorded, encrypted.
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;
    use std::fmt::Write;

    /// Every command that does something, with its page of the reference.
    fn pages(command: &mut clap::Command, depth: usize, out: &mut String) {
        let name = command.get_bin_name().unwrap_or_else(|| command.get_name()).to_owned();
        let help = command.clone().term_width(100).render_long_help().to_string();
        let help: Vec<&str> = help.lines().map(str::trim_end).collect();
        write!(out, "\n{} {name}\n\n```text\n{}\n```\n", "#".repeat(depth), help.join("\n").trim_end()).unwrap();
        for sub in command.get_subcommands_mut().filter(|c| c.get_name() != "help") {
            pages(sub, 3.min(depth + 1), out);
        }
    }

    #[test]
    fn the_arguments_are_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn every_command_shows_examples() {
        fn leaves(command: &clap::Command, path: &str) {
            let path = format!("{path} {}", command.get_name());
            if command.has_subcommands() {
                command.get_subcommands().for_each(|c| leaves(c, &path));
            } else {
                let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
                let examples = after.split_once("Examples:\n").unwrap_or_else(|| panic!("{path} shows no examples")).1;
                let name = path.trim_start();
                assert!(examples.contains(name) || examples.contains(" verify ") || examples.contains(" restore "), "{path}: {examples}");
            }
        }
        Args::command().get_subcommands().for_each(|c| leaves(c, "mirrordna"));
    }

    /// `MIRRORDNA_BLESS=1 cargo test -p mirrordna-cli` writes the file anew.
    #[test]
    fn the_reference_is_what_help_says() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/cli.md");
        let mut text = String::from(
            "# The command line\n\nGenerated from the arguments: `MIRRORDNA_BLESS=1 cargo test -p mirrordna-cli` writes this file, and the test\nfails where it is out of date. Transcripts of every command: `crates/mirrordna-cli/tests/transcripts/`.\n",
        );
        let mut command = Args::command();
        command.build();
        pages(&mut command, 2, &mut text);
        if std::env::var_os("MIRRORDNA_BLESS").is_some() {
            std::fs::write(path, &text).unwrap();
        }
        assert!(std::fs::read_to_string(path).unwrap() == text, "docs/cli.md is not what --help says");
    }
}
