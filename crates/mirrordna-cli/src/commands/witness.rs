//! `witness`: cosigning the logs of others.

use crate::http;
use crate::output::Output;
use clap::{Subcommand, ValueHint};
use mirrordna::peer::{Answer, MAX_REQUEST, PeerWitness, Seen};
use mirrordna::{Code, Error, Result, input};
use serde_json::json;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

/// `witness …`
#[derive(Debug, Subcommand)]
pub(crate) enum WitnessCommand {
    /// Make a witness with a key of its own in a new folder; prints that key.
    #[command(after_help = "The folder is the witness: whoever has it signs as it. Do not restore it from a
backup: a witness that forgot what it cosigned would cosign another history.

Examples:
  mirrordna witness init ./witness --name witness.example/ada")]
    Init {
        /// The folder.
        #[arg(value_hint = ValueHint::DirPath)]
        folder: PathBuf,
        /// Its name in cosignatures: a URL without scheme.
        #[arg(long)]
        name: String,
    },
    /// Cosign a log from now on, by its key.
    #[command(after_help = "Examples:
  mirrordna witness trust ./witness \"$(mirrordna checkpoint --vkey)\"")]
    Trust {
        /// Folder of the witness.
        #[arg(value_hint = ValueHint::DirPath)]
        folder: PathBuf,
        /// The log's key, as its `checkpoint --vkey` prints it.
        #[arg(value_name = "KEY")]
        verifier_key: String,
    },
    /// Answer one request, and print the answer.
    #[command(after_help = "Exit status 0: cosigned; 1: it does not extend what was cosigned (409, 422; a
409 prints the size that was); 3: log or key not known (404, 403).

Examples:
  mirrordna checkpoint --request 0 > request
  mirrordna witness cosign ./witness request > lines")]
    Cosign {
        /// Folder of the witness.
        #[arg(value_hint = ValueHint::DirPath)]
        folder: PathBuf,
        /// The request; without it, standard input.
        #[arg(value_hint = ValueHint::FilePath)]
        request: Option<PathBuf>,
    },
    /// Answer requests over HTTP, until it is stopped.
    #[command(after_help = "Plain HTTP: put a proxy with TLS in front of it where others reach it.

Examples:
  mirrordna witness serve ./witness --listen 127.0.0.1:8300
  mirrordna checkpoint --witness http://127.0.0.1:8300 --witness-key KEY --anchor")]
    Serve {
        /// Folder of the witness.
        #[arg(value_hint = ValueHint::DirPath)]
        folder: PathBuf,
        /// Where to listen; port 0 takes a free one, which is printed.
        #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8300")]
        listen: String,
    },
    /// Show the witness's key, and the largest checkpoint of each log that it
    /// cosigned.
    #[command(after_help = "Examples:
  mirrordna witness show ./witness
  mirrordna witness show ./witness --json | jq -r '.seen[0].note' > kept.checkpoint")]
    Show {
        /// Folder of the witness.
        #[arg(value_hint = ValueHint::DirPath)]
        folder: PathBuf,
    },
}

pub(crate) fn witness(command: &WitnessCommand, out: &mut Output) -> Result<u8> {
    match command {
        WitnessCommand::Init { folder, name } => show_key(&PeerWitness::init(folder, name)?, out),
        WitnessCommand::Trust { folder, verifier_key } => {
            PeerWitness::open(folder)?.trust(verifier_key)?;
            if out.json {
                out.value(&json!({ "trusted": verifier_key.trim() }))?;
            }
            Ok(0)
        }
        WitnessCommand::Cosign { folder, request } => {
            let witness = PeerWitness::open(folder)?;
            let file = request.as_deref().unwrap_or(Path::new("-"));
            let bytes = input::read(file, "a request", MAX_REQUEST as u64, Code::ImportUnreadable)?;
            show_answer(&witness.add_checkpoint(&bytes)?, out)
        }
        WitnessCommand::Serve { folder, listen } => serve(&PeerWitness::open(folder)?, listen, out),
        WitnessCommand::Show { folder } => show(&PeerWitness::open(folder)?, out),
    }
}

fn show_key(witness: &PeerWitness, out: &mut Output) -> Result<u8> {
    let key = witness.verifier_key().to_string();
    if out.json {
        out.value(&json!({ "verifier_key": key }))?;
    } else {
        out.line(key);
    }
    Ok(0)
}

fn show_answer(answer: &Answer, out: &mut Output) -> Result<u8> {
    if answer.status == 400 {
        return Err(Error::new(Code::InputInvalid, answer.body.trim_end().to_owned()));
    }
    if out.json {
        out.value(&json!({"status": answer.status, "content_type": answer.content_type, "body": answer.body}))?;
    } else {
        out.raw(answer.body.as_bytes());
    }
    Ok(match answer.status {
        200 => 0,
        409 | 422 => 1,
        _ => 3,
    })
}

fn serve(witness: &PeerWitness, listen: &str, out: &mut Output) -> Result<u8> {
    let failed = |e| Error::new(Code::StoreIo, format!("cannot listen at {listen}")).caused_by(e);
    let listener = TcpListener::bind(listen).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    if out.json {
        out.value(&json!({ "url": format!("http://{address}"), "verifier_key": witness.verifier_key().to_string() }))?;
    } else {
        out.line(format!("http://{address}"));
    }
    out.flush();
    http::serve(&listener, &|request| {
        witness.add_checkpoint(request).unwrap_or_else(|e| {
            tracing::error!(error = %e, "nothing can be cosigned");
            Answer { status: 500, content_type: "text/plain; charset=utf-8", body: "the witness cannot keep its state\n".to_owned() }
        })
    });
    Ok(0)
}

fn show(witness: &PeerWitness, out: &mut Output) -> Result<u8> {
    let (key, seen) = (witness.verifier_key().to_string(), witness.seen()?);
    if out.json {
        let one = |s: &Seen| json!({"origin": s.origin, "size": s.size, "root": s.root, "time": s.time, "note": s.note});
        out.value(&json!({"verifier_key": key, "seen": seen.iter().map(one).collect::<Vec<_>>()}))?;
        return Ok(0);
    }
    out.line(key);
    for one in seen {
        out.line("");
        out.raw(one.note.as_bytes());
    }
    Ok(0)
}
