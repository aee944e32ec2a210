//! One examination of one bundle, from what its user trusts to the answer.

use crate::event::Window;
use crate::json::{Json, Object, hex};
use crate::{body, report};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use mirrordna_verify::Policy;
use mirrordna_verify::bundle::{Judge, Judgement};
use sha2::{Digest, Sha256};

/// An examination. What is trusted comes before the first slice of the file.
pub struct Examination {
    policy: Policy,
    kept: Vec<Vec<u8>>,
    window: Window,
    /// Made with the first slice.
    judge: Option<Judge>,
    bytes: u64,
    digest: Sha256,
}

impl Default for Examination {
    fn default() -> Self {
        Self { policy: Policy::default(), kept: Vec::new(), window: Window::new(0, 0), judge: None, bytes: 0, digest: Sha256::new() }
    }
}

impl Examination {
    /// Trusts what a policy says (`spec/PROTOCOL.md` 17.1). Fingerprints come
    /// after it.
    ///
    /// # Errors
    /// With a sentence, if the text is no policy.
    pub fn policy(&mut self, text: &[u8]) -> Result<(), String> {
        let text = core::str::from_utf8(text).map_err(|_| "policy: is not UTF-8".to_string())?;
        self.policy = Policy::parse(text).map_err(|e| e.to_string())?;
        Ok(())
    }

    /// Also trusts the log key with this fingerprint.
    ///
    /// # Errors
    /// With a sentence, if it is not 32 bytes.
    pub fn fingerprint(&mut self, fingerprint: &[u8]) -> Result<(), String> {
        let fingerprint = fingerprint.try_into().map_err(|_| "a fingerprint has 32 bytes".to_string())?;
        self.policy = core::mem::take(&mut self.policy).and(fingerprint);
        Ok(())
    }

    /// Also holds the logs against a checkpoint that was kept.
    ///
    /// # Errors
    /// With a sentence, if it is none.
    pub fn keep(&mut self, note: &[u8]) -> Result<(), String> {
        Judge::new(Policy::default()).keep(note).map_err(|e| e.to_string())?;
        self.kept.push(note.to_vec());
        Ok(())
    }

    /// Lists events that were asked for: from one on, counted from 0, at most so
    /// many. Without it none is listed.
    pub fn window(&mut self, from: u64, count: u64) {
        self.window = Window::new(from, count);
    }

    fn begun(&mut self) -> Result<&mut Judge, String> {
        if self.judge.is_none() {
            let mut judge = Judge::new(self.policy.clone());
            for note in &self.kept {
                judge.keep(note).map_err(|e| e.to_string())?;
            }
            self.judge = Some(judge);
        }
        self.judge.as_mut().ok_or_else(String::new)
    }

    /// Takes the next slice of the file, of any length.
    ///
    /// # Errors
    /// With a sentence, if the file is no bundle at all.
    pub fn feed(&mut self, slice: &[u8]) -> Result<(), String> {
        self.begun()?;
        self.bytes += slice.len() as u64;
        self.digest.update(slice);
        let Self { judge: Some(judge), window, .. } = self else { return Ok(()) };
        judge.feed(slice, &mut |event| window.take(event)).map_err(|e| e.to_string())
    }

    /// Ends the file. The answer is JSON: `report` as `mirrordna verify --json`
    /// prints it, `file` with its length and SHA-256, `asked` with the number of
    /// events that were asked for, and `events`, the window of them.
    ///
    /// # Errors
    /// With a sentence, if the file ended within its first line.
    pub fn finish(&mut self) -> Result<String, String> {
        self.begun()?;
        let Self { judge: Some(judge), window, bytes, digest, .. } = core::mem::take(self) else { return Err(String::new()) };
        let judged = judge.finish().map_err(|e| e.to_string())?;
        let mut out = String::new();
        let mut object = Object::new(&mut out);
        object.put("report", &judged).put("file", File { bytes, sha256: hex(&digest.finalize()) });
        object.put("asked", window.asked()).put("events", &window).end();
        Ok(out)
    }

    /// What an event's entry says of its body: JSON, from the decrypted plain
    /// text.
    ///
    /// # Errors
    /// With a sentence, if the text has another form.
    pub fn body(plain: &[u8]) -> Result<String, String> {
        let mut out = String::new();
        body::read(plain, &mut out).map_err(|e| format!("{e}"))?;
        Ok(out)
    }
}

impl Json for Judgement {
    fn json(&self, out: &mut String) {
        report::judgement(self, out);
    }
}

/// The file that was judged.
struct File {
    bytes: u64,
    sha256: String,
}

impl Json for File {
    fn json(&self, out: &mut String) {
        Object::new(out).put("bytes", self.bytes).put("sha256", &self.sha256).end();
    }
}
