//! The command line: a thin door to the SDK. It owns arguments, output and exit
//! codes; it never holds logic that a program using the SDK would miss.

mod args;
mod commands;
mod config;
mod http;
mod logs;
#[cfg(feature = "os-keyring")]
mod os_keyring;
mod output;
mod quickstart;
mod usage;

use args::Command;
use config::Settings;
use output::Output;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args = match usage::parse() {
        Ok(args) => args,
        Err(status) => return ExitCode::from(status),
    };
    let mut out = Output::new(args.json, args.color);
    let done =
        logs::start().and_then(|()| Settings::load(args.store, args.as_of)).and_then(|settings| run(&settings, args.command, &mut out));
    ExitCode::from(out.finish(done))
}

fn run(settings: &Settings, command: Command, out: &mut Output) -> mirrordna::Result<u8> {
    #[cfg(feature = "os-keyring")]
    os_keyring::connect(&command)?;
    match command {
        Command::Init => commands::init(settings, out),
        Command::Quickstart { folder } => quickstart::run(settings, folder, out),
        Command::Identity(command) => commands::identity(settings, command, out),
        Command::Session(command) => commands::session(settings, command, out),
        Command::Remember(remember) => commands::remember(settings, remember, out),
        Command::Recall(recall) => commands::recall(settings, recall, out),
        Command::Memory(command) => commands::memory(settings, command, out),
        Command::Timeline(command) => commands::timeline(settings, command, out),
        Command::Snapshot(command) => commands::snapshot(settings, command, out),
        Command::Tool(command) => commands::tool(settings, command, out),
        Command::Evidence(evidence) => commands::evidence(settings, evidence, out),
        Command::Citation(command) => commands::citation(settings, command, out),
        Command::Import(import) => commands::import(settings, import, out),
        Command::Export(export) => commands::export(settings, &export, out),
        Command::Prove(prove) => commands::prove(settings, &prove, out),
        Command::Restore { file } => commands::restore(settings, &file, out),
        Command::Erase(erase) => commands::erase(settings, &erase, out),
        Command::Hold(command) => commands::hold(settings, command, out),
        Command::Retention(command) => commands::retention(settings, command, out),
        Command::Consent(command) => commands::consent(settings, command, out),
        Command::Adopt(adopt) => commands::adopt(settings, &adopt, out),
        Command::Fork(fork) => commands::fork(settings, &fork, out),
        Command::Verify(verify) => commands::verify(settings, verify, out),
        Command::Checkpoint(args) => commands::checkpoint(settings, &args, out),
        Command::Witness(command) => commands::witness(&command, out),
        Command::Doctor => commands::doctor(settings, out),
        Command::Keys(command) => commands::keys(settings, &command, out),
        Command::Config => commands::config(settings, out),
        Command::Completions { shell } => commands::completions(shell, out),
        Command::Man { command, folder } => commands::man(&command, folder.as_deref(), out),
    }
}
