//! The module's border: what JavaScript calls.
//!
//! An instance holds one [`Session`]: `begin` makes it. Bytes go in through
//! `alloc`, which gives the place to write them to, and the call that follows,
//! which takes them. Each such call answers 0, or 1 if it refuses; either way
//! `result` and `result_len` say where its answer lies, UTF-8: JSON, or the
//! sentence that says why.
//!
//! | call | takes | answers |
//! |---|---|---|
//! | `policy`, `fingerprint`, `keep` | what is trusted | nothing |
//! | `window(from, count)` | which events to list | |
//! | `feed` | the next slice of the file | nothing |
//! | `finish` | nothing | the judgement, JSON |
//! | `body` | a decrypted body | what it says, JSON |

// The only unsafe code: functions that another language calls by name, and the
// session that it holds for them.
#![allow(unsafe_code)]

use crate::Examination;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

/// What lives as long as an instance of the module.
#[derive(Default)]
pub struct Session {
    examination: Examination,
    input: Vec<u8>,
    result: String,
}

impl Session {
    /// Lets `f` take the input; 0, or 1 where it refuses.
    fn answer(&mut self, f: impl FnOnce(&mut Examination, &[u8]) -> Result<String, String>) -> u32 {
        let input = core::mem::take(&mut self.input);
        let (status, text) = match f(&mut self.examination, &input) {
            Ok(text) => (0, text),
            Err(why) => (1, why),
        };
        self.result = text;
        // Its place is kept for the next slice.
        self.input = input;
        status
    }

    fn take(&mut self, f: impl FnOnce(&mut Examination, &[u8]) -> Result<(), String>) -> u32 {
        self.answer(|examination, input| f(examination, input).map(|()| String::new()))
    }
}

/// A new session. It lives until the instance is dropped, with its memory.
#[unsafe(no_mangle)]
pub extern "C" fn begin() -> *mut Session {
    Box::into_raw(Box::default())
}

/// Declares functions that JavaScript calls with a session.
macro_rules! border {
    ($($(#[$doc:meta])* fn $name:ident($session:ident $(, $argument:ident: $type:ty)*) -> $answer:ty $body:block)*) => {$(
        $(#[$doc])*
        ///
        /// # Safety
        /// `session` comes from [`begin`], and no other call is under way: a
        /// module without threads and without imports cannot have another one.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(session: *mut Session $(, $argument: $type)*) -> $answer {
            // SAFETY: `begin` made it from a box that nobody else holds and that
            // is never freed, so it is aligned, alive and, as calls do not
            // overlap, not borrowed elsewhere.
            let $session = unsafe { &mut *session };
            $body
        }
    )*};
}

border! {
    /// A place for `len` bytes, which the next call takes.
    fn alloc(session, len: usize) -> *mut u8 {
        session.input.clear();
        session.input.resize(len, 0);
        session.input.as_mut_ptr()
    }

    /// Trusts what a policy says: its text, UTF-8.
    fn policy(session) -> u32 {
        session.take(|e, input| e.policy(input))
    }

    /// Also trusts the log key with this fingerprint: 32 bytes.
    fn fingerprint(session) -> u32 {
        session.take(|e, input| e.fingerprint(input))
    }

    /// Also holds the logs against a checkpoint that was kept: a signed note.
    fn keep(session) -> u32 {
        session.take(|e, input| e.keep(input))
    }

    /// Lists the events that were asked for from one on, at most so many.
    fn window(session, from: u32, count: u32) -> () {
        session.examination.window(from.into(), count.into());
    }

    /// The next slice of the file.
    fn feed(session) -> u32 {
        session.take(|e, input| e.feed(input))
    }

    /// Ends the file: the judgement.
    fn finish(session) -> u32 {
        session.answer(|e, _| e.finish())
    }

    /// Reads a decrypted body.
    fn body(session) -> u32 {
        session.answer(|_, input| Examination::body(input))
    }

    /// Where the answer of the last call lies.
    fn result(session) -> *const u8 {
        session.result.as_ptr()
    }

    /// And how long it is, bytes.
    fn result_len(session) -> usize {
        session.result.len()
    }
}
