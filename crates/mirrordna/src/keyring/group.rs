//! Appends of several threads that share their syncs.
//!
//! The first one to come leads: it writes for all who came by then, while the
//! next group forms. Nobody waits for company.

use crate::log::lock;
use mirrordna_core::{Code, Error, Result};
use std::error::Error as _;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use zeroize::Zeroizing;

/// What is to be appended to the two files.
#[derive(Default)]
pub(super) struct Lines {
    pub(super) keyring: Zeroizing<Vec<u8>>,
    pub(super) recovery: Zeroizing<Vec<u8>>,
}

/// Appends to a buffer of secrets; what it outgrows is wiped, not only freed.
pub(crate) fn extend(buffer: &mut Zeroizing<Vec<u8>>, more: &[u8]) {
    if buffer.capacity() - buffer.len() < more.len() {
        let mut larger = Zeroizing::new(Vec::with_capacity((buffer.len() + more.len()) * 2));
        larger.extend_from_slice(buffer);
        *buffer = larger;
    }
    buffer.extend_from_slice(more);
}

/// What became of a write, for each of those it was for.
#[derive(Clone)]
struct Failure {
    code: Code,
    message: String,
    hint: String,
    cause: Option<String>,
}

impl Failure {
    fn of(e: &Error) -> Self {
        let cause = e.source().map(ToString::to_string);
        Self { code: e.code(), message: e.message().to_owned(), hint: e.hint().to_owned(), cause }
    }

    fn error(self) -> Error {
        let error = Error::new(self.code, self.message).with_hint(self.hint);
        match self.cause {
            Some(cause) => error.caused_by(std::io::Error::other(cause)),
            None => error,
        }
    }
}

#[derive(Default)]
struct Group {
    lines: Lines,
    /// One of those who wait is to write.
    lead: bool,
    outcome: Option<Result<(), Failure>>,
}

#[derive(Default)]
struct Shared {
    group: Mutex<Group>,
    told: Condvar,
}

#[derive(Default)]
struct Queue {
    /// The group that is forming.
    next: Option<Arc<Shared>>,
    /// Somebody is writing, or was told to.
    led: bool,
}

/// The queue of one keyring.
#[derive(Default)]
pub(super) struct Appender(Mutex<Queue>);

impl Appender {
    /// Appends lines by `write`, together with whoever else is waiting.
    pub(super) fn append(&self, lines: &Lines, write: &dyn Fn(&Lines) -> Result<()>) -> Result<()> {
        let (shared, leads) = {
            let mut queue = lock(&self.0);
            let shared = queue.next.get_or_insert_default().clone();
            let mut group = lock(&shared.group);
            extend(&mut group.lines.keyring, &lines.keyring);
            extend(&mut group.lines.recovery, &lines.recovery);
            drop(group);
            (shared, !std::mem::replace(&mut queue.led, true))
        };
        if leads {
            self.lead(&shared, write);
        }
        loop {
            let waits = |g: &mut Group| !g.lead && g.outcome.is_none();
            let mut group = shared.told.wait_while(lock(&shared.group), waits).unwrap_or_else(PoisonError::into_inner);
            if let Some(outcome) = &group.outcome {
                return outcome.clone().map_err(Failure::error);
            }
            group.lead = false;
            drop(group);
            self.lead(&shared, write);
        }
    }

    fn lead(&self, shared: &Shared, write: &dyn Fn(&Lines) -> Result<()>) {
        // From here on nobody joins this group.
        lock(&self.0).next = None;
        let lines = std::mem::take(&mut lock(&shared.group).lines);
        let outcome = write(&lines).map_err(|e| Failure::of(&e));
        lock(&shared.group).outcome = Some(outcome);
        shared.told.notify_all();
        let mut queue = lock(&self.0);
        match &queue.next {
            Some(next) => {
                lock(&next.group).lead = true;
                next.told.notify_one();
            }
            None => queue.led = false,
        }
    }
}
