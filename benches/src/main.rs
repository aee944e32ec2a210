//! Figures as ratios against named baselines in the same run. Wall time on a
//! shared machine is noise; CPU time, bytes and ratios are what to read.
//!
//! `cargo run --release -p mirrordna-benches --bin figures -- [SUBJECT]`

mod append;
mod checks;
mod deep;
mod erase;
mod growth;
mod import;
mod keys;
mod peers;
mod processes;
mod proof;
mod redb;
mod sizes;
mod tools;

use tools::Fallible;

const HELP: &str = "figures SUBJECT

  append     one at a time, 64 writers, batches and the share of the cryptography;
             `append one`, `append many` or `append batches` for one of these,
             `append checkpoint` for the share of a checkpoint
  processes  8 processes as one actor against one
  growth     1e4 to 1e6 events: appends, reads, memory, bytes on disk, verification
  verify     verification and verified reads at 300,000 events; `verify EVENTS` for another number
  proof      proofs of events and a whole bundle, made and judged, at 1e6 events; `proof EVENTS`
  sizes      proofs in bytes, and what a bundle of one event is made of; `sizes EVENTS`
  unverified reads by this build and by one without checks, in turn (`cargo xtask unverified`)
  erase      a subject of 10,000 records among 1e5 and 1e6 events
  import     a chat of 100,000 turns
  langgraph  against LangGraph's SqliteSaver; MIRRORDNA_PEERS_PYTHON names a Python that has it
  upstream   against the upstream SDK; also MIRRORDNA_UPSTREAM, a checkout
  keys       appends by what protects the keyring, and a rotation of the store key
  redb       the redb adapter beside SQLite
  all        all of these
  deep       a million identities, ten million events; `deep IDENTITIES EVENTS` for other numbers
";

fn all() -> Fallible<()> {
    [
        || append::run(None),
        processes::run,
        growth::run,
        erase::run,
        || proof::run(&[]),
        || checks::run(&[]),
        || sizes::run(&[]),
        import::run,
        keys::run,
        peers::langgraph,
        peers::upstream,
        redb::run,
    ]
    .into_iter()
    .try_for_each(|part| part())
}

fn main() -> Fallible<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (part, rest) = args.split_first().map_or(("all", &[][..]), |(part, rest)| (part.as_str(), rest));
    match (part, rest) {
        ("append", rest) => append::run(rest.first().map(String::as_str)),
        ("processes", _) => processes::run(),
        ("growth", _) => growth::run(),
        ("verify", rest) => growth::verification(rest),
        ("erase", _) => erase::run(),
        ("import", _) => import::run(),
        ("proof", rest) => proof::run(rest),
        ("sizes", rest) => sizes::run(rest),
        ("unverified", rest) => checks::run(rest),
        ("keys", _) => keys::run(),
        ("langgraph", _) => peers::langgraph(),
        ("upstream", _) => peers::upstream(),
        ("redb", _) => redb::run(),
        ("all", _) => all(),
        ("deep", rest) => deep::run(rest),
        // Parts of figures that need a process of their own.
        ("child-append", [folder]) => processes::child(folder),
        ("child-reads", [folder, sessions @ ..]) => growth::child_reads(folder, sessions),
        ("child-points", [folder]) => growth::child_points(folder),
        ("child-verify", [folder]) => growth::child_verify(folder),
        ("child-headers", [folder]) => growth::child_headers(folder),
        ("child-checks", [folder]) => checks::child(folder),
        ("child-prove", [folder]) => proof::child_prove(folder),
        ("child-judge", [folder]) => proof::child_judge(folder),
        ("child-identities", [folder]) => deep::child_identities(folder),
        ("child-events", [folder]) => deep::child_events(folder),
        _ => {
            eprint!("{HELP}");
            std::process::exit(2);
        }
    }
}
