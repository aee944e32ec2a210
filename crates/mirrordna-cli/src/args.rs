//! What can be typed.

use clap::{Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Provable identity, sessions, memory and a verifiable timeline for AI agents.
#[derive(Debug, Parser)]
#[command(
    name = "mirrordna",
    version,
    about,
    after_help = "Examples:\n  mirrordna quickstart\n  mirrordna init\n  mirrordna import chat.jsonl\n  mirrordna recall \"when did we pick the venue?\"\n  mirrordna verify"
)]
pub(crate) struct Args {
    /// Database: a path, sqlite:PATH or sqlite:///ABSOLUTE.
    /// By default MIRRORDNA_STORE, else the configuration file, else ./mirrordna.db.
    #[arg(long, global = true, value_name = "URL|PATH")]
    pub(crate) store: Option<String>,
    /// Print JSON.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create a database and its keyring.
    #[command(after_help = "Example:\n  mirrordna --store ./agents.db init")]
    Init,
    /// Show everything once, on a sample conversation in a new folder.
    Quickstart {
        /// Folder to create; by default ./mirrordna-quickstart.
        folder: Option<PathBuf>,
    },
    /// Create and show identities.
    #[command(subcommand)]
    Identity(IdentityCommand),
    /// Start, end and show sessions.
    #[command(subcommand)]
    Session(SessionCommand),
    /// Add a memory.
    #[command(after_help = "Example:\n  mirrordna remember \"Prefers trains to planes\" --identity Ada --tier long_term --tag travel")]
    Remember(Remember),
    /// Find memories.
    #[command(
        after_help = "Examples:\n  mirrordna recall \"when did we pick the venue?\"\n  mirrordna recall venue --identity Ada --limit 3 --json"
    )]
    Recall(Recall),
    /// Append and show events.
    #[command(subcommand)]
    Timeline(TimelineCommand),
    /// Capture, compare and restore snapshots of an agent.
    #[command(subcommand)]
    Snapshot(SnapshotCommand),
    /// Import chats and vaults.
    #[command(after_help = "Examples:\n  mirrordna import chat.jsonl\n  mirrordna import ./exports --format chat --json")]
    Import(Import),
    /// Write the whole database, without keys, to a file.
    #[command(after_help = "Example:\n  mirrordna export backup.mdna")]
    Export {
        /// The file; it must not exist.
        file: PathBuf,
    },
    /// Restore an export into a new database.
    #[command(after_help = "Example:\n  mirrordna --store ./restored.db restore backup.mdna")]
    Restore {
        /// The export.
        file: PathBuf,
    },
    /// Check that nothing was altered: exit status 0 intact, 1 altered, 3 unproven.
    #[command(
        after_help = "Examples:\n  mirrordna verify\n  mirrordna verify copy.db --key 3f9c…\n\nStatus 3 (unproven) means: consistent, but nothing you trust vouches for it.\nGive the fingerprint that the owner told you by another way with --key."
    )]
    Verify(Verify),
    /// Look at the database, its keys and its head witness, and say what to mend.
    Doctor,
    /// Show the effective configuration and where each value comes from.
    #[command(
        after_help = "The configuration file is $MIRRORDNA_CONFIG, else ./mirrordna.toml, else $XDG_CONFIG_HOME/mirrordna/config.toml:\n\n  store = \"./agents.db\"\n  keys = \"/secure/keys\"\n  state = \"/var/lib/mirrordna\"   # or \"off\"\n  durability = \"full\"            # or \"normal\"\n  seals = \"bounded\"              # or \"every-event\""
    )]
    Config,
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page (roff).
    Man,
}

/// `identity …`
#[derive(Debug, Subcommand)]
pub(crate) enum IdentityCommand {
    /// Create an identity.
    #[command(after_help = "Example:\n  mirrordna identity create agent --name Ada")]
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
    List,
    /// Show one identity.
    Show {
        /// Id, its beginning, or a name.
        identity: String,
    },
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
    #[command(after_help = "Example:\n  mirrordna session start --agent Ada --user Sam")]
    Start {
        /// The agent: id or name.
        #[arg(long)]
        agent: String,
        /// The user: id or name.
        #[arg(long)]
        user: String,
        /// The session it continues.
        #[arg(long)]
        parent: Option<String>,
    },
    /// End a session.
    End {
        /// Its id.
        session: String,
        /// JSON, kept verbatim.
        #[arg(long, value_name = "JSON")]
        final_state: Option<String>,
    },
    /// Show sessions.
    List {
        /// Only of this agent.
        #[arg(long)]
        agent: Option<String>,
    },
    /// Show a session and those it continues.
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
    /// The session.
    #[arg(long, conflicts_with = "identity")]
    pub(crate) session: Option<String>,
    /// short_term, long_term or episodic.
    #[arg(long, default_value = "long_term")]
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
    #[arg(long, default_value_t = 10)]
    pub(crate) limit: usize,
}

/// `timeline …`
#[derive(Debug, Subcommand)]
pub(crate) enum TimelineCommand {
    /// Append an event.
    #[command(after_help = "Example:\n  mirrordna timeline append booking.requested '{\"from\":\"Basel\"}' --identity Ada")]
    Append {
        /// Dotted name of what happened.
        event_type: String,
        /// JSON, kept verbatim.
        payload: Option<String>,
        /// The actor: id or name.
        #[arg(long)]
        identity: String,
    },
    /// Show events, oldest first; with --json one event a line.
    List {
        /// Only of this actor.
        #[arg(long)]
        identity: Option<String>,
        /// From this leaf on.
        #[arg(long, default_value_t = 0)]
        from: u64,
        /// At most this many.
        #[arg(long)]
        limit: Option<usize>,
    },
    /// Show one event.
    Show {
        /// Its leaf number.
        leaf: u64,
    },
}

/// `snapshot …`
#[derive(Debug, Subcommand)]
pub(crate) enum SnapshotCommand {
    /// Capture the state of an agent.
    #[command(after_help = "Example:\n  mirrordna snapshot capture --identity Ada")]
    Capture {
        /// The agent: id or name; may be left away where there is one.
        #[arg(long)]
        identity: Option<String>,
        /// JSON, kept in the snapshot.
        #[arg(long, value_name = "JSON")]
        metadata: Option<String>,
    },
    /// Show all snapshots.
    List,
    /// Print the document of a snapshot.
    Show {
        /// Its id.
        snapshot: String,
        /// As YAML instead of JSON.
        #[arg(long)]
        yaml: bool,
    },
    /// Show what changed from one snapshot to another.
    Compare {
        /// Id of the first.
        first: String,
        /// Id of the second.
        second: String,
    },
    /// Bring an agent's memories back to their state in a snapshot.
    Restore {
        /// Its id.
        snapshot: String,
    },
}

/// `import …`
#[derive(Debug, clap::Args)]
pub(crate) struct Import {
    /// Files and folders.
    #[arg(required = true)]
    pub(crate) paths: Vec<PathBuf>,
    /// auto, chat or upstream.
    #[arg(long, default_value = "auto")]
    pub(crate) format: String,
    /// Make any refused record an error.
    #[arg(long)]
    pub(crate) strict: bool,
}

/// `verify …`
#[derive(Debug, clap::Args)]
pub(crate) struct Verify {
    /// Another database than --store names.
    pub(crate) target: Option<String>,
    /// Fingerprint of a log key to trust, 64 hex digits; may be repeated.
    #[arg(long, value_name = "FINGERPRINT")]
    pub(crate) key: Vec<String>,
    /// File with one fingerprint a line; `#` begins a comment.
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,
}
