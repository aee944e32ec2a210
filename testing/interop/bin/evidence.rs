//! mirrordna's verifier behind the contract of `agent-evidence-vectors`: its
//! strict JSON reader, its Ed25519 rule, its Merkle proofs and upstream's
//! checksum text, over records of other formats.
//!
//! ```text
//! evidence anchored-chain CASE.json --json     signed records with an anchored head
//! evidence trace-anchor   CASE.json --json     inclusion proofs against a registry entry
//! evidence rfc8785|card-signing-input FILE     canonical JSON
//! evidence audit-record   FILE KEY             the envelope of an audit record, and no more
//! evidence notes          FILE                 signed notes, one a line in base64: `ok`, or why not
//! ```
//!
//! Exit status and last line of standard output are those that each corpus's
//! README asks for. Status 3 is neither answer: the verifier's own checks of
//! canonical form disagree with each other, which fails the corpus.

use mirrordna_upstream::checksum::{Form, canonical};
use mirrordna_verify::json::{Json, Value};
use mirrordna_verify::{PublicKey, hash, merkle, note};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What a case is decided as; a reason where it is refused.
type Answer = Result<&'static str, &'static str>;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (Some(task), Some(file)) = (args.first(), args.get(1)) else {
        eprintln!("evidence TASK FILE [--json]");
        return ExitCode::from(2);
    };
    let Ok(text) = std::fs::read_to_string(file) else {
        eprintln!("{file} is not readable text");
        return ExitCode::from(2);
    };
    let answer = match task.as_str() {
        "anchored-chain" => {
            Json::parse(&text).ok().and_then(|case| anchored_chain(&case, Path::new(file))).map(|a| (a, "verified", "rejected"))
        }
        "trace-anchor" => Json::parse(&text).ok().map(|case| (trace_anchor(&case), "anchored", "refused")),
        "audit-record" => args.get(2).and_then(|key| audit_record(&text, key)).map(|a| (a, "accepted", "refused")),
        "notes" => return notes(&text),
        "rfc8785" | "card-signing-input" => return canonical_form(&text, task == "card-signing-input"),
        _ => None,
    };
    let Some((answer, good, bad)) = answer else {
        eprintln!("{file} is no case of {task}");
        return ExitCode::from(2);
    };
    let (decision, reason) = match answer {
        Ok(reason) => (good, reason),
        Err(reason) => (bad, reason),
    };
    println!("{{\"decision\":\"{decision}\",\"reason\":\"{reason}\"}}");
    ExitCode::from(u8::from(answer.is_err()))
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let lower = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    if !text.len().is_multiple_of(2) || !text.bytes().all(lower) {
        return None;
    }
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).ok()).collect()
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// An integer of the text; booleans and fractions are none.
fn integer(value: &Json<'_>) -> Option<i64> {
    matches!(value.value, Value::Number).then(|| value.raw.parse().ok()).flatten()
}

// --- signed records with an anchored head -----------------------------------

/// Whether the signature in an envelope is over the canonical form of its body.
fn is_signed(envelope: &Json<'_>, body: &str, key: &PublicKey) -> Option<bool> {
    let signature = note::from_base64(envelope.get("sig")?.str()?)?;
    let text = form(envelope.get(body)?)?;
    Some(key.verifies(text.as_bytes(), signature.as_slice().try_into().ok()?))
}

fn anchored_chain(case: &Json<'_>, file: &Path) -> Option<Answer> {
    let beside = |member: &str| Some(file.with_file_name(case.get(member)?.str()?)) as Option<PathBuf>;
    let key = |role: &str| PublicKey::new(&hex(case.get("keys")?.get(role)?.str()?)?.try_into().ok()?);
    let (producer, anchorer, chain) = (key("producer")?, key("anchor")?, case.get("chain")?.str()?);
    let store = std::fs::read_to_string(beside("store")?).ok()?;
    let lines: Vec<&str> = store.lines().filter(|l| !l.is_empty()).collect();
    let records: Vec<Json<'_>> = lines.iter().map(|l| Json::parse(l).ok()).collect::<Option<_>>()?;
    let anchor = std::fs::read_to_string(beside("anchor")?).ok()?;
    let anchor = Json::parse(&anchor).ok()?;

    // The first check that fails is the answer.
    if !records.iter().all(|r| is_signed(r, "record", &producer) == Some(true)) {
        return Some(Err("signature_invalid"));
    }
    if is_signed(&anchor, "anchor", &anchorer) != Some(true) {
        return Some(Err("anchor_signature_invalid"));
    }
    let member = |record: &Json<'_>, name: &str| Some(record.get("record")?.get(name)?.str()?.to_owned());
    if records.iter().any(|r| member(r, "chain").as_deref() != Some(chain)) {
        return Some(Err("record_from_other_chain"));
    }
    let digests: Vec<String> = lines.iter().map(|l| to_hex(&hash::sha256(&[l.as_bytes()]))).collect();
    let mut prev = "0".repeat(64);
    for (record, digest) in records.iter().zip(&digests) {
        if member(record, "prev") != Some(prev) {
            return Some(Err("chain_link_broken"));
        }
        prev = digest.clone();
    }
    let (index, head) = (integer(anchor.get("anchor")?.get("index")?)?, anchor.get("anchor")?.get("head")?.str()?);
    let Some(found) = usize::try_from(index).ok().and_then(|i| digests.get(i)) else {
        return Some(Err("anchored_head_missing"));
    };
    if found != head {
        return Some(Err("anchored_head_mismatch"));
    }
    Some(Ok(if index + 1 < lines.len() as i64 { "records_after_last_anchor" } else { "chain_anchored" }))
}

// --- inclusion proofs against a registry entry -------------------------------

fn prefixed(value: &Json<'_>) -> Option<[u8; 32]> {
    hex(value.str()?.strip_prefix("sha256:")?)?.try_into().ok()
}

fn trace_anchor(case: &Json<'_>) -> Answer {
    let given = |name: &str| case.get(name).filter(|v| v.value != Value::Null);
    let receipt = given("receipt").ok_or("receipt_absent")?;
    let well_formed = || {
        let index = integer(receipt.get("leaf_index")?)?;
        let path: Vec<[u8; 32]> = receipt.get("audit_path")?.items()?.iter().map(prefixed).collect::<Option<_>>()?;
        // What the receipt says of the tree is a claim, absent or well formed.
        let root = receipt.get("merkle_root").map(|r| prefixed(r).ok_or(())).transpose().ok()?;
        let count = receipt.get("leaf_count").map(|c| integer(c).ok_or(())).transpose().ok()?;
        Some((index, path, root, count))
    };
    let (index, path, claimed_root, claimed_count) = well_formed().ok_or("receipt_malformed")?;
    let entry = given("entry").ok_or("entry_absent")?;
    let registered = || {
        let named = |name: &str| entry.get(name)?.str().filter(|s| !s.is_empty());
        named("ts").and(named("producer")).and(named("batch_id"))?;
        Some((prefixed(entry.get("merkle_root")?)?, integer(entry.get("leaf_count")?).filter(|n| *n >= 1)?))
    };
    let (root, count) = registered().ok_or("entry_malformed")?;
    if claimed_root.is_some_and(|claimed| claimed != root) {
        return Err("receipt_root_mismatch");
    }
    if claimed_count.is_some_and(|claimed| claimed != count) {
        return Err("receipt_count_mismatch");
    }
    let (Ok(index), Ok(count)) = (u64::try_from(index), u64::try_from(count)) else { return Err("index_out_of_range") };
    if index >= count {
        return Err("index_out_of_range");
    }
    let claim = given("claim").filter(|c| is_in_profile(c)).ok_or("claim_outside_profile")?;
    // Sorted keys, ASCII escapes: upstream's checksum text is the same form.
    let text = mirrordna_upstream::json::parse(claim.raw.as_bytes()).ok().and_then(|d| canonical(&d.value, Form::State).ok());
    let leaf = hash::leaf(text.ok_or("claim_outside_profile")?.as_bytes());
    if merkle::includes(&root, count, index, &leaf, &path) { Ok("included_link_unchecked") } else { Err("proof_does_not_replay") }
}

/// Whether a claim is an object whose numbers are integers within 2^53.
fn is_in_profile(claim: &Json<'_>) -> bool {
    fn plain(value: &Json<'_>) -> bool {
        match &value.value {
            Value::Number => integer(value).is_some_and(|n| n.unsigned_abs() < 1 << 53),
            Value::Array(items) => items.iter().all(plain),
            Value::Object(members) => members.iter().all(|(_, v)| plain(v)),
            _ => true,
        }
    }
    matches!(claim.value, Value::Object(_)) && plain(claim)
}

// --- the envelope of an audit record -------------------------------------------

/// The layer that the format shares with ours: strict JSON within the limits of
/// I-JSON, and a signature over the canonical form (DSSE, PAE version 1).
fn audit_record(envelope: &str, key: &str) -> Option<Answer> {
    let key = PublicKey::new(&hex(key)?.try_into().ok()?)?;
    let envelope = Json::parse(envelope).ok()?;
    let payload = String::from_utf8(note::from_base64(envelope.get("payload")?.str()?)?).ok()?;
    let statement = match Json::parse(&payload) {
        Ok(statement) => statement,
        Err(e) => return Some(Err(if e.why.contains("key") { "duplicate-member" } else { "nesting-too-deep" })),
    };
    if !is_in_profile(&statement) {
        return Some(Err("unsafe-integer"));
    }
    let (kind, body) = (envelope.get("payloadType")?.str()?, form(&statement)?);
    let signed = format!("DSSEv1 {} {kind} {} {body}", kind.len(), body.len());
    let [signature] = envelope.get("signatures")?.items()? else { return None };
    let signature = note::from_base64(signature.get("sig")?.str()?)?;
    let holds = key.verifies(signed.as_bytes(), signature.as_slice().try_into().ok()?);
    Some(if holds { Ok("signed") } else { Err("signature-invalid") })
}

// --- signed notes, for comparison with Go's parser --------------------------------

fn notes(lines: &str) -> ExitCode {
    for line in lines.lines() {
        let Some(bytes) = note::from_base64(line) else { return ExitCode::from(2) };
        match note::Note::parse(&bytes) {
            Ok(_) => println!("ok"),
            Err(e) => println!("{}", e.why),
        }
    }
    ExitCode::SUCCESS
}

// --- canonical JSON ------------------------------------------------------------

fn canonical_form(text: &str, of_card: bool) -> ExitCode {
    let Ok(mut json) = Json::parse(text) else { return ExitCode::from(1) };
    if let (true, Value::Object(members)) = (of_card, &mut json.value) {
        members.retain(|(key, _)| key != "signatures");
    }
    let Some(out) = form(&json) else { return ExitCode::from(1) };
    // The protocol's own rule is narrower: ASCII keys, integers. The checker must
    // take the form of a value within it, and no other text for that value.
    let narrow = is_narrow(&json);
    let taken = Json::parse_canonical(&out).is_ok();
    let input_taken = !of_card && Json::parse_canonical(text).is_ok();
    if taken != narrow || input_taken != (!of_card && narrow && text == out) {
        eprintln!("the checker of canonical form: narrow {narrow}, form taken {taken}, input taken {input_taken}");
        return ExitCode::from(3);
    }
    println!("{{\"canonical_utf8_hex\":\"{}\"}}", to_hex(out.as_bytes()));
    ExitCode::SUCCESS
}

/// Whether all keys of a value are ASCII, and all numbers integers within 2^53
/// by their value: `1e2` is one, and has the form `100`.
fn is_narrow(value: &Json<'_>) -> bool {
    match &value.value {
        Value::Number => value.raw.parse().is_ok_and(|n: f64| n.fract() == 0.0 && n.abs() < 9_007_199_254_740_992.0),
        Value::Array(items) => items.iter().all(is_narrow),
        Value::Object(members) => members.iter().all(|(k, v)| k.is_ascii() && is_narrow(v)),
        _ => true,
    }
}

/// RFC 8785; `None` for a number beyond a double.
fn form(value: &Json<'_>) -> Option<String> {
    let joined = |parts: Vec<String>| parts.join(",");
    Some(match &value.value {
        Value::Null => "null".to_owned(),
        Value::Bool(b) => b.to_string(),
        Value::Number => number(value.raw.parse().ok()?)?,
        Value::String(s) => string(s),
        Value::Array(items) => format!("[{}]", joined(items.iter().map(form).collect::<Option<_>>()?)),
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
            format!("{{{}}}", joined(members.into_iter().map(|(k, v)| Some(format!("{}:{}", string(k), form(v)?))).collect::<Option<_>>()?))
        }
    })
}

fn string(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out += "\\\"",
            '\\' => out += "\\\\",
            '\u{8}' => out += "\\b",
            '\u{c}' => out += "\\f",
            '\n' => out += "\\n",
            '\r' => out += "\\r",
            '\t' => out += "\\t",
            c if c < ' ' => out += &format!("\\u{:04x}", c as u32),
            c => out.push(c),
        }
    }
    out + "\""
}

/// ECMAScript's text of a double (ECMA-262 section 6.1.6.1.20).
fn number(value: f64) -> Option<String> {
    if !value.is_finite() {
        return None;
    }
    if value == 0.0 {
        return Some("0".to_owned());
    }
    // Rust gives the same shortest digits; only the place of the point differs.
    let scientific = format!("{:e}", value.abs());
    let (digits, exponent) = scientific.split_once('e')?;
    let digits = digits.replace('.', "");
    let (k, n) = (digits.len() as i32, exponent.parse::<i32>().ok()? + 1);
    let zeros = |count: i32| "0".repeat(count.max(0) as usize);
    let text = if (k..=21).contains(&n) {
        format!("{digits}{}", zeros(n - k))
    } else if (1..=21).contains(&n) {
        format!("{}.{}", &digits[..n as usize], &digits[n as usize..])
    } else if (-5..=0).contains(&n) {
        format!("0.{}{digits}", zeros(-n))
    } else {
        let rest = if k > 1 { format!(".{}", &digits[1..]) } else { String::new() };
        format!("{}{rest}e{}{}", &digits[..1], if n > 0 { "+" } else { "-" }, (n - 1).abs())
    };
    Some(if value < 0.0 { format!("-{text}") } else { text })
}
