//! The command line: a thin door to the SDK. It owns arguments, output and exit
//! codes; it never holds logic that a program using the SDK would miss.

mod args;
mod commands;
mod output;
mod quickstart;

use args::{Args, Command};
use clap::Parser;
use output::Output;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args = Args::parse();
    let mut out = Output::new(args.json);
    let done = match args.command {
        Command::Init => commands::init(&args.store, &mut out),
        Command::Quickstart { folder } => quickstart::run(folder, &mut out),
        Command::Identity(command) => commands::identity(&args.store, command, &mut out),
        Command::Session(command) => commands::session(&args.store, command, &mut out),
        Command::Remember(remember) => commands::remember(&args.store, remember, &mut out),
        Command::Recall(recall) => commands::recall(&args.store, recall, &mut out),
        Command::Timeline(command) => commands::timeline(&args.store, command, &mut out),
        Command::Snapshot(command) => commands::snapshot(&args.store, command, &mut out),
        Command::Import(import) => commands::import(&args.store, import, &mut out),
        Command::Export { file } => commands::export(&args.store, &file, &mut out),
        Command::Restore { file } => commands::restore(&args.store, &file, &mut out),
        Command::Verify(verify) => commands::verify(&args.store, verify, &mut out),
        Command::Doctor => commands::doctor(&args.store, &mut out),
        Command::Completions { shell } => commands::completions(shell, &mut out),
        Command::Man => commands::man(&mut out),
    };
    match done {
        Ok(status) => ExitCode::from(status),
        Err(e) => ExitCode::from(out.error(&e)),
    }
}
