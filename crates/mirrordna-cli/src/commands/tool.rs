//! `tool …` and `evidence`: recording calls of tools, citing them, and handing
//! out what proves them.

use super::verify::exit_status;
use super::{OrSee, agent, count, open, open_to_read, paged, short_time, tell_more, write_new};
use crate::args::Paging;
use crate::config::Settings;
use crate::output::{Cell, Fit, Output, Tone};
use clap::Subcommand;
use mirrordna::proof::Policy;
use mirrordna::{
    Code, ContentHash, Engine, Error, EvidenceRead, Fingerprint, NewCall, Outcome, Result, Status, ToolCall, ToolCitation, Tools, input,
    limits,
};
use serde_json::json;
use std::io::{Read, stdin};
use std::path::{Path, PathBuf};

const NONE_YET: &str = "no calls yet: mirrordna tool request ENDPOINT --request ID";

/// `tool …`
#[derive(Debug, Subcommand)]
pub(crate) enum ToolCommand {
    /// Record that a tool is called, before it is; prints the call's id.
    #[command(after_help = "The log keeps the SHA-256 of the arguments, and of them only what --redacted says.
The same command again, with the same --id, is the same call; another call with
that id is refused (tool.exists).

Examples:
  CALL=$(mirrordna tool request weather/today --request req-17 --args '{\"city\":\"Lyon\"}' --identity Ada)
  mirrordna tool request mail/send --request req-17 --args-json - --irreversible < mail.json
  mirrordna tool request weather/today --request req-17 --attempt-of call_01jt… --session sess_01jt…")]
    Request(Request),
    /// Record how a call ended.
    #[command(after_help = "A call ends once: another outcome is refused (tool.completed).

Examples:
  mirrordna tool complete call_01jt… --response '{\"sky\":\"clear\"}' --summary '{\"count\":1}'
  mirrordna tool complete call_01jt… --status timeout --latency-ms 30000
  curl -s https://example.org/today | mirrordna tool complete call_01jt… --response -")]
    Complete(Complete),
    /// Show a call.
    #[command(after_help = "Examples:
  mirrordna tool show call_01jt…
  mirrordna tool show call_01jt… --json | jq -r .response_hash")]
    Show {
        /// Its id.
        call: String,
    },
    /// Show calls, oldest first.
    #[command(after_help = "Examples:
  mirrordna tool list --request req-17
  mirrordna tool list --open
  mirrordna tool list --session sess_01jt… --json | jq -r '.calls[].call_id'
  mirrordna tool list --limit 100 --after \"$next\" --json | jq -r '.next // empty'")]
    List {
        /// Only those of this request.
        #[arg(long, value_name = "ID")]
        request: Option<String>,
        /// Only those of this session, also where it has ended.
        #[arg(long)]
        session: Option<String>,
        /// Only those of this agent: id or name.
        #[arg(long, conflicts_with = "session")]
        identity: Option<String>,
        /// Only those that have not completed.
        #[arg(long)]
        open: bool,
        #[command(flatten)]
        paging: Paging,
    },
    /// Print the citation of a call, JSON.
    #[command(after_help = "Examples:
  mirrordna tool cite call_01jt… > citation.json")]
    Cite {
        /// Its id.
        call: String,
    },
    /// Show the calls that a proof discloses: exit status as of verify, and 3 where a
    /// call is disputed.
    #[command(after_help = "No database, no keys: what is shown is what the file itself proves.

Examples:
  mirrordna tool read F-7.mdna-proof --key 3f9c…
  mirrordna tool read F-7.mdna-proof --key 3f9c… --json | jq '.statements[0].missing_links'")]
    Read {
        /// The file, as `mirrordna evidence --out` wrote it.
        #[arg(value_hint = clap::ValueHint::FilePath)]
        file: PathBuf,
        /// Fingerprint of a log key to trust, 64 hex digits; may be repeated.
        #[arg(long, value_name = "FINGERPRINT")]
        key: Vec<Fingerprint>,
    },
    /// Check a citation for a request: exit status 0 if it holds, 15 if not, 3 if it
    /// is of a call that its agent no longer stands by.
    #[command(after_help = "Refused are citations of calls that are not recorded (citation.unknown), that
the log has otherwise (citation.forged, citation.replayed), that served another
request (citation.other_request), and those of other tenants
(citation.other_tenant).

Examples:
  mirrordna tool check citation.json --request req-17
  jq -c .citations[0] answer.json | mirrordna tool check - --request req-17 --json")]
    Check {
        /// File with one citation, JSON, or `-` for standard input.
        file: PathBuf,
        /// The request that it is cited for.
        #[arg(long, value_name = "ID")]
        request: String,
    },
}

/// `tool request …`
#[derive(Debug, clap::Args)]
pub(crate) struct Request {
    /// What is called: any name of at most 512 bytes.
    endpoint: String,
    /// The request that the call serves.
    #[arg(long, value_name = "ID")]
    request: String,
    /// The agent: id or name; may be left away where there is one.
    #[arg(long)]
    identity: Option<String>,
    /// The session it belongs to.
    #[arg(long, conflicts_with = "identity")]
    session: Option<String>,
    /// An id of your own for the call.
    #[arg(long, value_name = "CALL")]
    id: Option<String>,
    /// The arguments, hashed byte for byte; `-` reads standard input.
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["args_json", "args_hash"])]
    args: Option<String>,
    /// The arguments as JSON, hashed in the form of RFC 8785; `-` reads standard input.
    #[arg(long, value_name = "JSON", conflicts_with = "args_hash")]
    args_json: Option<String>,
    /// The SHA-256 of the arguments, 64 hex digits.
    #[arg(long, value_name = "HASH")]
    args_hash: Option<ContentHash>,
    /// What is kept of the arguments: JSON, verbatim.
    #[arg(long, value_name = "JSON")]
    redacted: Option<String>,
    /// The call that this one tries again.
    #[arg(long, value_name = "CALL")]
    attempt_of: Option<String>,
    /// Who asked for it.
    #[arg(long)]
    user: Option<String>,
    /// What the tool does cannot be undone: the event is signed at once.
    #[arg(long)]
    irreversible: bool,
}

/// `tool complete …`
#[derive(Debug, clap::Args)]
pub(crate) struct Complete {
    /// Its id.
    call: String,
    /// How it ended: success, error or timeout.
    #[arg(long, default_value = "success")]
    status: Status,
    /// The response, hashed byte for byte; `-` reads standard input.
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["response_json", "response_hash"])]
    response: Option<String>,
    /// The response as JSON, hashed in the form of RFC 8785; `-` reads standard input.
    #[arg(long, value_name = "JSON", conflicts_with = "response_hash")]
    response_json: Option<String>,
    /// The SHA-256 of the response, 64 hex digits.
    #[arg(long, value_name = "HASH")]
    response_hash: Option<ContentHash>,
    /// What is kept of the response: JSON, verbatim.
    #[arg(long, value_name = "JSON")]
    summary: Option<String>,
    /// How long it took; measured from the request if nothing is said.
    #[arg(long, value_name = "N")]
    latency_ms: Option<u64>,
}

/// `evidence …`
#[derive(Debug, clap::Args)]
pub(crate) struct Evidence {
    /// A call that it rests on; may be repeated.
    #[arg(long, value_name = "CALL", required = true)]
    call: Vec<String>,
    /// Your id of what was found.
    #[arg(long, value_name = "ID")]
    finding: Option<String>,
    /// Your id of the event that it is about.
    #[arg(long, value_name = "ID")]
    event: Option<String>,
    /// Your id of what all of this belongs to.
    #[arg(long, value_name = "ID")]
    correlation: Option<String>,
    /// The agent that states it: id or name; may be left away where there is one.
    #[arg(long)]
    identity: Option<String>,
    /// Write the proof to this file; it must not exist.
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    out: Option<PathBuf>,
    /// Only look whether the calls are there: state nothing, write nothing.
    #[arg(long, conflicts_with = "out")]
    check: bool,
}

/// What was typed or, for `-`, what stands on standard input, byte for byte.
fn read_input(argument: &str) -> Result<Vec<u8>> {
    if argument != "-" {
        return Ok(argument.as_bytes().to_vec());
    }
    let mut bytes = Vec::new();
    let read = stdin().lock().take(limits::PAYLOAD as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|e| Error::new(Code::InputInvalid, "cannot read standard input").caused_by(e))?;
    if bytes.len() > limits::PAYLOAD {
        return Err(Error::new(Code::LimitExceeded, format!("standard input has more than {} bytes", limits::PAYLOAD)));
    }
    Ok(bytes)
}

/// The digest of a content that was given in one of three ways.
fn digest(bytes: Option<&str>, json: Option<&str>, hash: Option<ContentHash>) -> Result<Option<ContentHash>> {
    Ok(match (bytes, json) {
        (Some(bytes), _) => Some(ContentHash::of(read_input(bytes)?)),
        (_, Some(json)) => {
            let text = String::from_utf8(read_input(json)?).map_err(|e| Error::new(Code::JsonInvalid, "it is not UTF-8").caused_by(e))?;
            Some(ContentHash::of_json(text.trim())?)
        }
        _ => hash,
    })
}

pub(crate) fn tool(settings: &Settings, command: ToolCommand, out: &mut Output) -> Result<u8> {
    match command {
        ToolCommand::Request(request) => {
            // Standard input is read before the database is opened.
            let args = digest(request.args.as_deref(), request.args_json.as_deref(), request.args_hash)?;
            let engine = open(settings)?;
            let new = NewCall {
                call_id: request.id,
                args: args.unwrap_or_default(),
                args_redacted: request.redacted,
                attempt_of: request.attempt_of,
                user: request.user,
                irreversible: request.irreversible,
                ..NewCall::new(request.endpoint, request.request)
            };
            let tools = match &request.session {
                Some(session) => engine.sessions().resume(session).or_see("session list")?.tools(),
                None => agent(&engine, request.identity.as_deref())?.tools(),
            };
            let call = tools.requested(new)?;
            if out.json {
                out.value(&tools.get(call.id())?)?;
            } else {
                out.line(call.id());
            }
            drop((call, tools));
            engine.close()?;
        }
        ToolCommand::Complete(complete) => {
            let response = digest(complete.response.as_deref(), complete.response_json.as_deref(), complete.response_hash)?;
            let engine = open(settings)?;
            let outcome =
                Outcome { response, latency_ms: complete.latency_ms, response_summary: complete.summary, ..Outcome::new(complete.status) };
            let call = engine.tools().call(&complete.call).or_see("tool list")?.completed(outcome)?;
            if out.json {
                out.value(&call)?;
            } else if let Some(leaf) = call.completed_leaf {
                out.line(format!("leaf {leaf}"));
            }
            engine.close()?;
        }
        ToolCommand::Show { call } => {
            let call = open_to_read(settings, out)?.tools().get(&call).or_see("tool list")?;
            if out.json {
                out.value(&call)?;
            } else {
                let members = serde_json::to_value(&call).unwrap_or_default();
                let members = members.as_object().into_iter().flatten().filter(|(_, v)| !v.is_null());
                let pairs: Vec<(&str, String)> =
                    members.map(|(k, v)| (k.as_str(), v.as_str().map_or_else(|| v.to_string(), str::to_owned))).collect();
                out.pairs(&pairs);
            }
        }
        ToolCommand::List { request, session, identity, open, paging } => {
            let engine = open_to_read(settings, out)?;
            let tools = scope(&engine, session.as_deref(), identity.as_deref())?;
            let (calls, next) = paged(paging, |after, limit| {
                let mut listing = tools.listing().limit(limit);
                listing = request.iter().fold(listing, |l, request| l.request(request));
                listing = after.into_iter().fold(listing, mirrordna::CallListing::after);
                if open { listing.open() } else { listing }.run().or_see("tool list")
            })?;
            if out.json {
                out.value(&json!({ "calls": calls, "next": next }))?;
            } else {
                show(&calls, if open { "no call is open" } else { NONE_YET }, out);
                tell_more(next.as_deref(), out);
            }
        }
        ToolCommand::Cite { call } => {
            let tools = open_to_read(settings, out)?.tools();
            let citation = tools.citation(&call).or_see("tool list")?;
            if let Some(by) = tools.get(&call)?.disputed_by {
                out.remark(format!("disputed: its agent does not stand by this call, says the event at {by}; who checks it is told so"));
            }
            out.value(&citation)?;
        }
        ToolCommand::Read { file, key } => return read(&file, &key, out),
        ToolCommand::Check { file, request } => {
            let text = input::read(&file, "a citation", input::TEXT, Code::InputInvalid)?;
            let citation: ToolCitation = serde_json::from_slice(&text).map_err(|e| {
                Error::new(Code::InputInvalid, "this is no citation of a call").with_hint("`mirrordna tool cite` prints one.").caused_by(e)
            })?;
            let tools = open_to_read(settings, out)?.tools();
            let call = match tools.verify_citation(&citation, &request) {
                Err(e) if e.code() == Code::CitationDisputed => return disputed(&tools.get(&citation.call_id)?, &e, out),
                checked => checked?,
            };
            if out.json {
                out.value(&json!({ "ok": true, "call": call }))?;
            } else {
                let holds = out.tone(Tone::Good, "holds");
                out.line(format!("{holds}: {} called {} for {request}", call.agent, call.endpoint));
            }
        }
    }
    Ok(0)
}

/// A citation that is right, of a call that its agent no longer stands by: that
/// proves neither that it made the call, nor that it did not.
fn disputed(call: &ToolCall, e: &Error, out: &mut Output) -> Result<u8> {
    if out.json {
        out.value(&json!({ "ok": false, "verdict": "unproven", "reason": e.code().name(), "message": e.message(), "call": call }))?;
    } else {
        let verdict = out.tone(Tone::Notice, "unproven");
        out.line(format!("{verdict}: {}", e.message()));
        out.line(e.hint());
    }
    Ok(exit_status("unproven"))
}

/// What a proof says of calls.
fn read(file: &Path, keys: &[Fingerprint], out: &mut Output) -> Result<u8> {
    let mut opened = input::open(file, "a proof", Code::InputInvalid)?;
    let policy = keys.iter().fold(Policy::default(), |policy, key| policy.and(*key.as_bytes()));
    let EvidenceRead { judgement, statements, calls } = mirrordna::read_evidence(&mut opened, policy).map_err(|e| match e.code() {
        Code::BundleUnknown => Error::new(Code::BundleUnknown, format!("{} is no bundle", file.display())).caused_by(e),
        _ => e,
    })?;
    let verdict = judgement.verdict;
    if out.json {
        let problems: Vec<_> =
            judgement.problems.iter().map(|p| json!({ "code": p.code, "place": p.place, "message": p.message })).collect();
        out.value(&json!({ "verdict": verdict.name(), "statements": statements, "calls": calls, "problems": problems }))?;
    } else {
        let tone = if verdict.name() == "intact" { Tone::Good } else { Tone::Bad };
        let name = out.tone(tone, verdict.name());
        out.line(name);
        for problem in &judgement.problems {
            out.line(problem);
        }
        for said in &statements {
            let about = [("finding", &said.finding_id), ("event", &said.event_id), ("correlation", &said.correlation_id)];
            let about: String = about.iter().filter_map(|(name, id)| id.as_ref().map(|id| format!(" {name} {id}"))).collect();
            out.line(format!("{} states evidence{about}: {}", said.agent, count(said.call_ids.len() as u64, "call", "calls")));
            for link in &said.missing_links {
                let why = out.tone(Tone::Bad, link.why.name());
                out.line(format!("  {} {why}", link.call_id));
            }
        }
        show(&calls, "it discloses no calls", out);
        let disputed = calls.iter().filter(|call| call.disputed_by.is_some()).count() as u64;
        if disputed > 0 {
            let calls = count(disputed, "call is disputed", "calls are disputed");
            out.line(format!("{calls}: as it was recorded, but its agent does not stand by it; who recorded it is open"));
        }
    }
    // Who made a call that is disputed is not proven, whoever signed the log.
    let open = calls.iter().any(|call| call.disputed_by.is_some());
    Ok(exit_status(if open && verdict.name() == "intact" { "unproven" } else { verdict.name() }))
}

/// The calls that are meant.
fn scope(engine: &Engine, session: Option<&str>, identity: Option<&str>) -> Result<Tools> {
    Ok(match (session, identity) {
        (Some(session), _) => engine.sessions().tools(session).or_see("session list")?,
        (None, Some(name)) => engine.identities().find(name).or_see("identity list")?.tools(),
        (None, None) => engine.tools(),
    })
}

fn show(calls: &[ToolCall], nothing: &str, out: &mut Output) {
    let rows = calls.iter().map(|call| row(call, out)).collect();
    let columns = [
        ("CALL", Fit::Whole),
        ("STATUS", Fit::Whole),
        ("MS", Fit::Number),
        ("CALLED (UTC)", Fit::Whole),
        ("REQUEST", Fit::Cut),
        ("ENDPOINT", Fit::Cut),
    ];
    out.table(&columns, rows, nothing);
}

fn row(call: &ToolCall, out: &Output) -> Vec<Cell> {
    let status = match call.response_status {
        Some(Status::Success) => Cell::toned(Tone::Good, "success"),
        Some(other) => Cell::toned(Tone::Bad, other.name()),
        None => Cell::toned(Tone::Notice, "open"),
    };
    let status = if call.disputed_by.is_some() { Cell::toned(Tone::Notice, "disputed") } else { status };
    vec![
        call.call_id.clone().into(),
        status,
        call.latency_ms.map(|ms| ms.to_string()).unwrap_or_default().into(),
        short_time(&call.timestamp, out).into(),
        call.request_id.clone().into(),
        call.endpoint.clone().into(),
    ]
}

pub(crate) fn evidence(settings: &Settings, args: Evidence, out: &mut Output) -> Result<u8> {
    let engine = if args.check { open_to_read(settings, out)? } else { open(settings)? };
    let stated = match args.check {
        true => engine.evidence(),
        false => agent(&engine, args.identity.as_deref())?.evidence(),
    };
    let mut stated = stated.calls(args.call);
    stated = args.finding.into_iter().fold(stated, mirrordna::Evidence::finding);
    stated = args.event.into_iter().fold(stated, mirrordna::Evidence::event);
    stated = args.correlation.into_iter().fold(stated, mirrordna::Evidence::correlation);
    let mut bytes = None;
    let chain = match &args.out {
        _ if args.check => stated.check()?,
        None => stated.build()?,
        Some(file) => write_new(file, |target| {
            let (chain, bundled) = stated.write(target)?;
            bytes = Some(bundled.bytes);
            Ok(chain)
        })?,
    };
    engine.close()?;
    if out.json {
        let mut value = serde_json::to_value(&chain).unwrap_or_default();
        if let (Some(members), Some(bytes)) = (value.as_object_mut(), bytes) {
            members.insert("bytes".into(), bytes.into());
        }
        out.value(&value)?;
    } else {
        let calls = count(chain.call_ids.len() as u64, "call", "calls");
        let missing = chain.missing_links.len();
        let state = if chain.chain_complete { out.tone(Tone::Good, "complete") } else { out.tone(Tone::Bad, format!("{missing} missing")) };
        out.line(format!("{calls}, {state}"));
        let missing = chain.missing_links.iter().map(|link| (&link.call_id, link.why.name()));
        let rows = missing.chain(chain.disputed.iter().map(|id| (id, "disputed")));
        let rows = rows.map(|(id, why)| vec![id.clone().into(), why.into()]).collect();
        out.table(&[("CALL", Fit::Whole), ("WHY", Fit::Whole)], rows, "");
        if let (Some(file), Some(bytes)) = (&args.out, bytes) {
            out.line(format!("{}: {bytes} bytes", file.display()));
        }
    }
    Ok(match (chain.chain_complete, chain.disputed.is_empty()) {
        (false, _) => 1,
        (true, true) => 0,
        (true, false) => exit_status("unproven"),
    })
}
