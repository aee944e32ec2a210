//! `completions` and `man`: what is generated from the arguments.

use super::raw;
use crate::args::Args;
use crate::output::Output;
use clap::CommandFactory;
use mirrordna::{Code, Error, Result};

pub(crate) fn completions(shell: clap_complete::Shell, out: &mut Output) -> Result<u8> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "mirrordna", &mut text);
    raw(&text, out)
}

pub(crate) fn man(out: &mut Output) -> Result<u8> {
    let mut text = Vec::new();
    let io = |e| Error::new(Code::Bug, "the manual page does not render").caused_by(e);
    clap_mangen::Man::new(Args::command()).render(&mut text).map_err(io)?;
    raw(&text, out)
}
