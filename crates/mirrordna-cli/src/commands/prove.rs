//! `prove`: events for somebody who has nothing but a fingerprint.

use super::audit::{say_later, under};
use super::{count, open, open_to_read, write_new};
use crate::args::Prove;
use crate::config::Settings;
use crate::output::Output;
use mirrordna::{Code, Result};
use serde_json::json;
use std::path::PathBuf;

pub(crate) fn prove(settings: &Settings, args: &Prove, out: &mut Output) -> Result<u8> {
    // To write: what is not signed yet is signed first. Who may not, proves what
    // is signed.
    let engine = match open(settings) {
        Err(e) if settings.as_of || matches!(e.code(), Code::StoreReadOnly | Code::KeyMissing) => open_to_read(settings, out)?,
        opened => opened?,
    };
    let mut prove = engine.main().prove(&args.events).label(&args.label).under(under(&args.under)?);
    for id in &args.record {
        prove = prove.record(id)?;
    }
    for id in &args.session {
        prove = prove.session(id)?;
    }
    if args.disclose {
        prove = prove.disclose();
    }
    if args.linked {
        prove = prove.linked();
    }
    let file = args.out.clone().unwrap_or_else(|| {
        let names = args.events.iter().map(u64::to_string);
        let name = names.chain(args.record.iter().cloned()).chain(args.session.iter().cloned()).next();
        PathBuf::from(format!("{}.mdna-proof", name.unwrap_or_default()))
    });
    let erased = prove.erased().to_vec();
    let bundled = write_new(&file, |target| prove.write(target))?;
    let key = engine.fingerprint().to_string();
    if out.json {
        out.value(&json!({"file": file.display().to_string(), "bundled": bundled, "fingerprint": key,
            "erased": erased.iter().map(|(id, by)| json!({"id": id, "by": by})).collect::<Vec<_>>()}))?;
    } else {
        out.line(format!("proved       {} in {} bytes: {}", count(bundled.events, "event", "events"), bundled.bytes, file.display()));
        say_later(bundled.later, out);
        for (id, by) in &erased {
            out.line(format!("erased       {id}: event {by} erased its content; proven are that event and what it names"));
        }
        out.line(format!("fingerprint  {key}"));
        out.remark("Tell the fingerprint by another way than the file; whoever has both runs:");
        out.remark(format!("  mirrordna verify {} --key {key}", file.display()));
    }
    Ok(0)
}
