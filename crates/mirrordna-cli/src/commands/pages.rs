//! `completions` and `man`: what is generated from the arguments.

use crate::args::Args;
use crate::output::Output;
use clap::CommandFactory;
use mirrordna::{Code, Error, Result};
use serde_json::json;
use std::path::Path;

pub(crate) fn completions(shell: clap_complete::Shell, out: &mut Output) -> Result<u8> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "mirrordna", &mut text);
    show(&text, &json!({ "shell": shell.to_string() }), "script", out)
}

pub(crate) fn man(command: &[String], folder: Option<&Path>, out: &mut Output) -> Result<u8> {
    let mut all = Args::command();
    all.build();
    if let Some(folder) = folder {
        let failed = |e| Error::new(Code::StoreIo, format!("cannot write manual pages into {}", folder.display())).caused_by(e);
        std::fs::create_dir_all(folder).map_err(failed)?;
        let mut pages = Vec::new();
        write_pages(&all, folder, &mut pages).map_err(failed)?;
        if out.json {
            out.value(&json!({ "pages": pages }))?;
        } else {
            pages.iter().for_each(|page| out.line(page));
        }
        return Ok(0);
    }
    let mut found = &all;
    for name in command {
        found = found.find_subcommand(name).ok_or_else(|| {
            Error::new(Code::InputInvalid, format!("there is no command `mirrordna {}`", command.join(" ")))
                .with_hint("`mirrordna --help` shows the commands.")
        })?;
    }
    let mut text = Vec::new();
    let failed = |e| Error::new(Code::Bug, "the manual page does not render").caused_by(e);
    page_of(found).render(&mut text).map_err(failed)?;
    show(&text, &json!({ "command": found.get_bin_name() }), "page", out)
}

fn page_of(command: &clap::Command) -> clap_mangen::Man {
    clap_mangen::Man::new(command.clone()).source(concat!("mirrordna ", env!("CARGO_PKG_VERSION"))).manual("mirrordna")
}

/// Writes the page of a command and those of its subcommands.
fn write_pages(command: &clap::Command, folder: &Path, pages: &mut Vec<String>) -> std::io::Result<()> {
    let page = page_of(command).generate_to(folder)?;
    pages.push(page.display().to_string());
    let subcommands = command.get_subcommands().filter(|c| c.get_name() != "help");
    subcommands.into_iter().try_for_each(|c| write_pages(c, folder, pages))
}

/// A generated text: as it is, or in a member of a JSON object.
fn show(text: &[u8], about: &serde_json::Value, member: &str, out: &mut Output) -> Result<u8> {
    if out.json {
        let mut object = about.clone();
        object[member] = String::from_utf8_lossy(text).into();
        out.value(&object)?;
    } else {
        out.raw(text);
    }
    Ok(0)
}
