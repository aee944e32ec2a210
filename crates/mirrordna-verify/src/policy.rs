//! Whom a judgement believes: a policy file names log keys, witnesses and the
//! quorum of them that a checkpoint needs (C2SP `tlog-policy`,
//! `spec/PROTOCOL.md` 17.1).

use crate::cosignature;
use crate::hash::Hash;
use crate::note::{Note, decimal};
use crate::vkey::{KeyType, VerifierKey};
use crate::{Malformed, PublicKey};
use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// The longest policy that is read, in bytes.
const MAX_TEXT: usize = 128 * 1024;
/// The most lines of a policy, comments and empty ones included.
const MAX_LINES: usize = 1024;

/// What is wrong with a policy's text, and in which line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyError {
    /// The line, counted from 1; 0 if it is the text as a whole.
    pub line: usize,
    /// The rule that is broken.
    pub why: &'static str,
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "policy: {}", self.why),
            n => write!(f, "policy line {n}: {}", self.why),
        }
    }
}

impl core::error::Error for PolicyError {}

/// One thing that can witness a checkpoint: a key, or a group of such things.
#[derive(Debug, Clone, Copy)]
enum Member {
    Witness(usize),
    Group(usize),
}

#[derive(Debug, Clone)]
struct Group {
    needed: usize,
    /// Defined before the group, so that no circle is possible.
    members: Vec<Member>,
}

/// Log keys, witness keys, and how many witnesses a checkpoint needs.
///
/// The default trusts nothing and asks for no witness.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    logs: Vec<VerifierKey>,
    fingerprints: Vec<Hash>,
    witnesses: Vec<VerifierKey>,
    groups: Vec<Group>,
    quorum: Option<Member>,
}

/// What the witnesses of a policy say about one checkpoint.
///
/// Times are seconds since 1970 by the witnesses' clocks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cosigned {
    /// Key names of witnesses with a line that does not verify, in the order of
    /// the lines.
    pub invalid: Vec<String>,
    /// Witness ([`Policy::witness`]) and time of each valid line, in the order of
    /// the lines. The time 0 of an ML-DSA-44 line states none: the line counts for
    /// the quorum and bounds nothing.
    pub times: Vec<(usize, u64)>,
    /// Whether the witnesses with valid lines are a quorum; always where the
    /// policy asks for none.
    pub quorum: bool,
    /// The earliest time by which a quorum had seen the checkpoint: what it
    /// covers is not younger. Without a quorum to ask for, any witness is one.
    pub not_after: Option<u64>,
    /// The latest time from which on a quorum cosigned: what names these
    /// cosignatures is not older.
    pub not_before: Option<u64>,
}

impl Policy {
    /// Reads a policy file. The last line may lack its newline.
    ///
    /// # Errors
    /// If the text is longer than 128 KiB or 1,024 lines, or a line breaks a
    /// rule of `tlog-policy`.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        let whole = |why| PolicyError { line: 0, why };
        if text.len() > MAX_TEXT {
            return Err(whole("is longer than 128 KiB"));
        }
        let text = text.strip_suffix('\n').unwrap_or(text);
        let mut reading = Reading::default();
        for (i, line) in text.split('\n').enumerate() {
            if i == MAX_LINES {
                return Err(whole("has more than 1,024 lines"));
            }
            reading.line(line).map_err(|why| PolicyError { line: i + 1, why })?;
        }
        Ok(reading.policy)
    }

    /// This policy, trusting one more log key: that with this fingerprint
    /// ([`PublicKey::fingerprint`]), whatever its log.
    #[must_use]
    pub fn and(mut self, fingerprint: Hash) -> Self {
        self.fingerprints.push(fingerprint);
        self
    }

    /// This policy, trusting one more log key for the log that it is named after.
    /// Of a key of another type nothing is trusted.
    #[must_use]
    pub fn and_log(mut self, key: VerifierKey) -> Self {
        if key.kind != KeyType::Witness {
            self.logs.push(key);
        }
        self
    }

    /// This policy, knowing one more witness, whom no quorum asks for. Of a key
    /// of another type, or one that is known, nothing comes.
    #[must_use]
    pub fn and_witness(mut self, key: VerifierKey) -> Self {
        if key.kind != KeyType::Log && !self.witnesses.iter().any(|w| w.key == key.key) {
            self.witnesses.push(key);
        }
        self
    }

    /// Whether `key` is trusted to sign checkpoints of the log with this origin:
    /// by a log line for that origin, or by its fingerprint.
    #[must_use]
    pub fn trusts(&self, origin: &str, key: &PublicKey) -> bool {
        self.log_keys(origin).any(|k| k == key) || self.fingerprints.contains(&key.fingerprint())
    }

    /// The Ed25519 keys that log lines name for this origin. Fingerprints are not among
    /// them: from a fingerprint no key can be had.
    pub fn log_keys<'a>(&'a self, origin: &'a str) -> impl Iterator<Item = &'a PublicKey> {
        self.logs(origin).filter_map(|l| l.key.ed25519())
    }

    /// The same keys of all types, by their names.
    pub fn logs<'a>(&'a self, origin: &'a str) -> impl Iterator<Item = &'a VerifierKey> {
        self.logs.iter().filter(move |l| l.name == origin)
    }

    /// Of each ML-DSA-44 key that log lines name for the origin of a checkpoint
    /// whether its line is valid, if there is one.
    #[cfg(feature = "pq")]
    pub(crate) fn signed_by_ml_dsa(&self, note: &Note<'_>) -> Vec<bool> {
        let origin = note.text.split('\n').next().unwrap_or_default();
        self.logs(origin).filter(|l| l.kind == KeyType::MlDsa44).filter_map(|l| l.signs(note)).collect()
    }

    /// Whether a checkpoint needs witnesses.
    #[must_use]
    pub const fn asks_for_quorum(&self) -> bool {
        self.quorum.is_some()
    }

    /// The key of a witness, counted from 0 in the order of the file.
    #[must_use]
    pub fn witness(&self, number: usize) -> Option<&VerifierKey> {
        self.witnesses.get(number)
    }

    /// Checks all lines by known witnesses under the text of `note`, which must
    /// be a checkpoint's. Lines by others are ignored.
    #[must_use]
    pub fn cosigned(&self, note: &Note<'_>) -> Cosigned {
        let mut found = Cosigned::default();
        self.count(note, &mut found);
        found
    }

    /// Counts the lines of a further note, of the same log, size and root, to
    /// what was found of others: each witness is one, however often it signed.
    pub fn count(&self, note: &Note<'_>, found: &mut Cosigned) {
        for line in &note.signatures {
            let judged = self.witnesses.iter().enumerate().find_map(|(i, w)| Some((i, cosignature::judge(line, note.text, w)?)));
            match judged {
                Some((witness, Ok(time))) => found.times.push((witness, time)),
                Some((_, Err(_))) => found.invalid.push(line.name.to_owned()),
                None => {}
            }
        }
        let dated = |line: &&(usize, u64)| self.is_dated(line.0, line.1);
        let quorum_of = |counts: &dyn Fn(u64) -> bool| {
            self.satisfied(|witness| found.times.iter().filter(dated).any(|(w, t)| *w == witness && counts(*t)))
        };
        let mut times: Vec<u64> = found.times.iter().filter(dated).map(|(_, t)| *t).collect();
        times.sort_unstable();
        found.not_after = times.iter().copied().find(|t| quorum_of(&|time| time <= *t));
        found.not_before = times.iter().rev().copied().find(|t| quorum_of(&|time| time >= *t));
        found.quorum = !self.asks_for_quorum() || found.not_after.is_some();
        // Lines without a time count, too.
        #[cfg(feature = "pq")]
        if !found.quorum {
            found.quorum = self.satisfied(|witness| found.times.iter().any(|(w, _)| *w == witness));
        }
    }

    /// Whether a line with this time by a witness says when it was made.
    #[cfg(feature = "pq")]
    fn is_dated(&self, witness: usize, time: u64) -> bool {
        time > 0 || self.witness(witness).is_some_and(|w| w.kind == KeyType::Witness)
    }

    #[cfg(not(feature = "pq"))]
    const fn is_dated(&self, _: usize, _: u64) -> bool {
        true
    }

    /// Whether the witnesses for which `has` holds are a quorum, or, where none
    /// is asked for, whether there is any.
    fn satisfied(&self, has: impl Fn(usize) -> bool) -> bool {
        let Some(quorum) = self.quorum else { return (0..self.witnesses.len()).any(has) };
        // In the order of definition, since a group knows earlier ones only: no
        // recursion, however deep a file nests them.
        let mut groups: Vec<bool> = Vec::with_capacity(self.groups.len());
        let holds = |member: &Member, groups: &[bool]| match *member {
            Member::Witness(w) => has(w),
            Member::Group(g) => groups.get(g).copied().unwrap_or(false),
        };
        for group in &self.groups {
            let witnessed = group.members.iter().filter(|m| holds(m, &groups)).count();
            groups.push(witnessed >= group.needed);
        }
        holds(&quorum, &groups)
    }
}

/// The state while a file is read.
#[derive(Default)]
struct Reading {
    policy: Policy,
    /// Defined names, and whether a group has taken them as a member already.
    /// A list, not a map: there are 1,024 at most, and each is taken once.
    names: Vec<(String, Member, bool)>,
    quorum_read: bool,
}

impl Reading {
    fn line(&mut self, line: &str) -> Result<(), &'static str> {
        if line.bytes().any(|b| (b < 0x20 && b != b'\t') || b == 0x7f) {
            return Err("holds a control character other than a tab");
        }
        let mut fields = line.split([' ', '\t']).filter(|f| !f.is_empty());
        let Some(word) = fields.next().filter(|w| !w.starts_with('#')) else { return Ok(()) };
        match word {
            "log" => self.log(&mut fields)?,
            "witness" => self.witness(&mut fields)?,
            "group" => self.group(&mut fields)?,
            "quorum" => self.quorum(&mut fields)?,
            _ => self.policy.fingerprints.push(fingerprint(word).ok_or("is neither log, witness, group, quorum nor a fingerprint")?),
        }
        fields.next().map_or(Ok(()), |_| Err("has more fields than it may have"))
    }

    fn log<'a>(&mut self, fields: &mut impl Iterator<Item = &'a str>) -> Result<(), &'static str> {
        let key = verifier_key(fields.next().ok_or("names no key")?, KeyType::Witness, "is a log with a key of type 4")?;
        if self.policy.logs.iter().any(|l| l.key == key.key) {
            return Err("repeats the key of another log");
        }
        self.policy.logs.push(key);
        fields.next(); // the URL: where to ask, which nobody here does
        Ok(())
    }

    fn witness<'a>(&mut self, fields: &mut impl Iterator<Item = &'a str>) -> Result<(), &'static str> {
        let name = fields.next().ok_or("names no witness")?;
        let key = verifier_key(fields.next().ok_or("names no key")?, KeyType::Log, "is a witness with a key of type 1")?;
        if self.policy.witnesses.iter().any(|w| w.key == key.key) {
            return Err("repeats the key of another witness");
        }
        self.define(name, Member::Witness(self.policy.witnesses.len()))?;
        self.policy.witnesses.push(key);
        fields.next();
        Ok(())
    }

    fn group<'a>(&mut self, fields: &mut impl Iterator<Item = &'a str>) -> Result<(), &'static str> {
        let name = fields.next().ok_or("names no group")?;
        let needed = fields.next().ok_or("does not say how many of its members it needs")?;
        let mut members = Vec::new();
        for field in fields {
            let named = self.names.iter_mut().find(|(name, ..)| name == field);
            let (_, member, taken) = named.ok_or("has a member that is not defined before")?;
            if core::mem::replace(taken, true) {
                return Err("has a member that is listed before");
            }
            members.push(*member);
        }
        let needed = match needed {
            "any" => 1,
            "all" => members.len(),
            k => decimal(k).and_then(|k| usize::try_from(k).ok()).ok_or("needs neither any, all nor a plain decimal number")?,
        };
        if !(1..=members.len()).contains(&needed) {
            return Err("needs none of its members, or more than it has");
        }
        self.define(name, Member::Group(self.policy.groups.len()))?;
        self.policy.groups.push(Group { needed, members });
        Ok(())
    }

    fn quorum<'a>(&mut self, fields: &mut impl Iterator<Item = &'a str>) -> Result<(), &'static str> {
        if core::mem::replace(&mut self.quorum_read, true) {
            return Err("is a second quorum");
        }
        self.policy.quorum = match fields.next().ok_or("names no quorum")? {
            "none" => None,
            name => Some(self.names.iter().find(|(n, ..)| n == name).ok_or("names a quorum that is not defined before")?.1),
        };
        Ok(())
    }

    fn define(&mut self, name: &str, member: Member) -> Result<(), &'static str> {
        if name == "none" {
            return Err("defines the name none, which is taken");
        }
        if self.names.iter().any(|(n, ..)| n == name) {
            return Err("defines a name that is taken");
        }
        self.names.push((name.to_owned(), member, false));
        Ok(())
    }
}

/// A key of any type but one.
fn verifier_key(text: &str, other: KeyType, why_not: &'static str) -> Result<VerifierKey, &'static str> {
    let key = VerifierKey::parse(text).map_err(|Malformed { why, .. }| why)?;
    if key.kind == other { Err(why_not) } else { Ok(key) }
}

/// 64 lower-case hex digits.
fn fingerprint(text: &str) -> Option<Hash> {
    let digit = |b: u8| match b {
        b'0'..=b'9' => Some(b - b'0'),
        b'a'..=b'f' => Some(b - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let mut out = [0; 32];
    if !rest.is_empty() || pairs.len() != out.len() {
        return None;
    }
    for (byte, [high, low]) in out.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cosignature::{Cosignature, message};
    use crate::note::base64;
    use alloc::format;
    use alloc::string::ToString;
    use ed25519_dalek::{Signer, SigningKey};
    use proptest::prelude::*;

    fn secret(seed: u8) -> SigningKey {
        SigningKey::from_bytes(&[seed; 32])
    }

    fn vkey(kind: KeyType, name: &str, seed: u8) -> String {
        VerifierKey { name: name.to_string(), kind, key: PublicKey::from(&secret(seed)).into() }.to_string()
    }

    fn log(seed: u8) -> String {
        vkey(KeyType::Log, "example.com/log", seed)
    }

    fn witness(seed: u8) -> String {
        vkey(KeyType::Witness, &format!("witness.example/{seed}"), seed)
    }

    /// The example of `tlog-policy`, with keys: two of X1..X3 and one of Y1..Y3.
    fn example() -> String {
        let mut text = format!("log {}\n\n", log(100));
        for (i, name) in ["X1", "X2", "X3"].iter().enumerate() {
            text += &format!("witness {name} {}\n", witness(i as u8 + 1));
        }
        text += "group X-witnesses 2 X1 X2 X3\n\n";
        for (i, name) in ["Y1", "Y2", "Y3"].iter().enumerate() {
            text += &format!("witness {name} {} https://y.example/{i}\n", witness(i as u8 + 4));
        }
        text + "group Y-witnesses any Y1 Y2 Y3\n\ngroup X-and-Y all X-witnesses Y-witnesses\nquorum X-and-Y\n"
    }

    const TEXT: &str = "example.com/log\n3\nbjQLnP+zepicpUTmu3gKLHiQHT+zNzh2hRGjBhevoB0=\n";

    fn line(seed: u8, time: u64) -> String {
        let signature = secret(seed).sign(message(time, TEXT).as_bytes()).to_bytes();
        Cosignature { time, signature }.line(&format!("witness.example/{seed}"), &PublicKey::from(&secret(seed)))
    }

    fn judged(policy: &Policy, lines: &[String]) -> Cosigned {
        let text = format!(
            "{TEXT}\n\u{2014} example.com/log {}\n{}",
            base64(&[7; 68]),
            lines.iter().map(|l| format!("{l}\n")).collect::<String>()
        );
        policy.cosigned(&Note::parse(text.as_bytes()).unwrap())
    }

    #[test]
    fn the_example_of_the_specification() {
        let policy = Policy::parse(&example()).unwrap();
        assert!(policy.asks_for_quorum());
        assert!(policy.trusts("example.com/log", &PublicKey::from(&secret(100))));
        assert!(!policy.trusts("example.com/other", &PublicKey::from(&secret(100))), "a key is trusted for its log only");
        assert!(!policy.trusts("example.com/log", &PublicKey::from(&secret(1))));

        let found = judged(&policy, &[line(1, 50), line(2, 30), line(5, 40)]);
        assert_eq!(found.times, [(0, 50), (1, 30), (4, 40)]);
        assert!(found.quorum && found.invalid.is_empty());
        assert_eq!((found.not_after, found.not_before), (Some(50), Some(30)));

        for few in
            [&[line(1, 50), line(2, 30)][..], &[line(4, 1), line(5, 1), line(6, 1), line(1, 1)], &[line(1, 1), line(1, 2), line(4, 3)], &[]]
        {
            let found = judged(&policy, few);
            assert!(!found.quorum);
            assert_eq!((found.not_after, found.not_before), (None, None));
        }
    }

    #[test]
    fn more_witnesses_than_needed_make_the_bounds_tighter() {
        let policy = Policy::parse(&example()).unwrap();
        let found = judged(&policy, &[line(1, 10), line(2, 20), line(3, 30), line(4, 5), line(5, 25)]);
        assert_eq!(found.not_after, Some(20), "X1, X2 and Y1 had seen it at 20");
        assert_eq!(found.not_before, Some(20), "X2, X3 and Y2 were not earlier than 20");
        let found = judged(&policy, &[line(1, 10), line(1, 90), line(2, 50), line(4, 60), line(4, 70)]);
        assert_eq!((found.not_after, found.not_before), (Some(60), Some(50)), "a witness may cosign twice");
    }

    #[test]
    fn without_a_quorum_any_witness_bounds_the_time() {
        let text = example().replace("quorum X-and-Y", "quorum none");
        for policy in [Policy::parse(&text).unwrap(), Policy::parse(text.trim_end_matches("quorum none\n")).unwrap()] {
            assert!(!policy.asks_for_quorum());
            let found = judged(&policy, &[line(3, 7), line(6, 9)]);
            assert_eq!((found.quorum, found.not_after, found.not_before), (true, Some(7), Some(9)));
            assert_eq!(judged(&policy, &[]), Cosigned { quorum: true, ..Cosigned::default() });
        }
    }

    #[test]
    fn lines_of_strangers_are_ignored_and_bad_ones_named() {
        let policy = Policy::parse(&example()).unwrap();
        let mut bad = line(2, 30);
        let at = bad.len() - 10;
        bad.replace_range(at..=at, if bad.as_bytes()[at] == b'A' { "B" } else { "A" });
        let found = judged(&policy, &[line(1, 50), bad, line(4, 40), line(77, 1)]);
        assert_eq!(found.invalid, ["witness.example/2"]);
        assert_eq!(found.times, [(0, 50), (3, 40)]);
        assert!(!found.quorum);

        let short = crate::note::signature_line("witness.example/1", Policy::parse(&example()).unwrap().witness(0).unwrap().id(), &[1; 64]);
        assert_eq!(judged(&policy, &[short]).invalid, ["witness.example/1"], "a log's signature is no cosignature");
    }

    #[test]
    fn the_default_trusts_nothing() {
        let policy = Policy::default();
        let key = PublicKey::from(&secret(100));
        assert!(!policy.trusts("example.com/log", &key) && !policy.asks_for_quorum());
        assert!(policy.and(key.fingerprint()).trusts("anything", &key));
        assert!(!Policy::parse("").unwrap().trusts("example.com/log", &key));
    }

    #[test]
    fn keys_can_be_added_one_by_one() {
        let (log, witness) = (VerifierKey::parse(&log(100)).unwrap(), VerifierKey::parse(&witness(1)).unwrap());
        let policy = Policy::default().and_log(log.clone()).and_witness(witness.clone()).and_witness(witness.clone());
        assert!(
            policy.trusts("example.com/log", log.key.ed25519().unwrap())
                && policy.witness(0) == Some(&witness)
                && policy.witness(1).is_none()
        );
        assert_eq!(judged(&policy, &[line(1, 5)]).not_after, Some(5));
        let crossed = Policy::default().and_log(witness).and_witness(log.clone());
        assert!(!crossed.trusts("example.com/log", log.key.ed25519().unwrap()) && crossed.witness(0).is_none());
    }

    #[test]
    fn a_fingerprint_trusts_a_key_for_any_log() {
        let key = PublicKey::from(&secret(100));
        let hex: String = key.fingerprint().iter().map(|b| format!("{b:02x}")).collect();
        let policy = Policy::parse(&format!("# the log of the house\n \t# and its key\n\n \t{hex}\t \nquorum\tnone")).unwrap();
        assert!(policy.trusts("example.com/log", &key) && policy.trusts("x", &key));
        assert!(Policy::parse(&hex.to_uppercase()).is_err() && Policy::parse(&hex[1..]).is_err());
    }

    #[test]
    fn every_rule_has_its_line() {
        let (l, w1, w2) = (log(100), witness(1), witness(2));
        let two = format!("witness a {w1}\nwitness b {w2}\n");
        let deep = "#\n".repeat(MAX_LINES);
        for (text, line) in [
            (format!("logs {l}\n"), 1),
            ("log\n".to_string(), 1),
            (format!("\n\nlog {w1}\n"), 3),
            (format!("log {l}\nlog {}\n", vkey(KeyType::Log, "another.example/name", 100)), 2),
            (format!("log {l} https://a b\n"), 1),
            (format!("log {l}\r\n"), 1),
            (format!("log {l}\u{7f}\n"), 1),
            ("witness a\n".to_string(), 1),
            (format!("witness a {l}\n"), 1),
            (format!("witness none {w1}\n"), 1),
            (format!("witness a {w1}\nwitness a {w2}\n"), 2),
            (format!("witness a {w1}\nwitness b {}\n", vkey(KeyType::Witness, "same", 1)), 2),
            (format!("{two}group g 0 a b\n"), 3),
            (format!("{two}group g 3 a b\n"), 3),
            (format!("{two}group g 01 a b\n"), 3),
            (format!("{two}group g +1 a b\n"), 3),
            (format!("{two}group g 99999999999999999999999 a b\n"), 3),
            (format!("{two}group g any\n"), 3),
            (format!("{two}group g\n"), 3),
            (format!("{two}group g any a a\n"), 3),
            (format!("{two}group g any a none\n"), 3),
            (format!("{two}group g any a\ngroup h any a b\n"), 4),
            (format!("{two}group g any g\n"), 3),
            (format!("{two}group a any b\n"), 3),
            (format!("group g any a\n{two}"), 1),
            (format!("{two}quorum c\n"), 3),
            (format!("quorum a\n{two}"), 1),
            (format!("{two}quorum\n"), 3),
            (format!("{two}quorum a b\n"), 3),
            (format!("{two}quorum a\nquorum a\n"), 4),
            (format!("{two}quorum none\nquorum none\n"), 4),
            (format!("{deep}#"), 0),
            ("#".repeat(MAX_TEXT + 1), 0),
        ] {
            let error = Policy::parse(&text).unwrap_err();
            assert_eq!(error.line, line, "{error} in {text}");
        }
        assert!(Policy::parse(&deep).is_ok());
    }

    proptest! {
        #[test]
        fn nesting_of_any_depth_is_judged(depth in 1usize..500) {
            let mut text = format!("witness w {}\ngroup g0 any w\n", witness(1));
            for i in 1..=depth {
                text += &format!("group g{i} all g{}\n", i - 1);
            }
            let policy = Policy::parse(&format!("{text}quorum g{depth}\n")).unwrap();
            prop_assert!(judged(&policy, &[line(1, 5)]).quorum);
            prop_assert!(!judged(&policy, &[line(2, 5)]).quorum);
        }

        #[test]
        fn parsing_never_panics(text in "((log|witness|group|quorum|#|any|all|[0-9a]{1,3}|[ \\t\\n])[ \\n]?){0,40}") {
            let _ = Policy::parse(&text);
        }
    }
}
