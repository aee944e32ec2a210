//! A file that is read and never written: what redb changes while it checks or
//! repairs stays in memory.

use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};
use std::collections::HashMap;
use std::fs::File;
use std::io::{Error, ErrorKind, Result};
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

const PAGE: u64 = 4096;

#[derive(Debug)]
struct State {
    len: u64,
    /// How much of the file still shows.
    base: u64,
    pages: HashMap<u64, Box<[u8]>>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Overlay {
    file: FileBackend,
    /// Whether a lock is taken; the process that holds it needs none.
    locks: bool,
    state: Mutex<State>,
}

impl Overlay {
    pub(crate) fn new(file: File, locks: bool) -> std::result::Result<Self, redb::DatabaseError> {
        let file = FileBackend::new(file)?;
        let len = file.len()?;
        Ok(Self { file, locks, state: Mutex::new(State { len, base: len, pages: HashMap::new() }) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the file says about a page, with zeros beyond its end.
    fn page_of_file(&self, state: &State, page: u64) -> Result<Box<[u8]>> {
        let mut out = vec![0; PAGE as usize].into_boxed_slice();
        let start = page * PAGE;
        let there = state.base.saturating_sub(start).min(PAGE) as usize;
        self.file.read(start, &mut out[..there])?;
        Ok(out)
    }
}

/// The pages that a range touches: page, where in it, where in the buffer.
fn spans(offset: u64, len: usize) -> impl Iterator<Item = (u64, std::ops::Range<usize>, usize)> {
    let end = offset + len as u64;
    (offset / PAGE..end.div_ceil(PAGE)).map(move |page| {
        let (from, to) = ((page * PAGE).max(offset), ((page + 1) * PAGE).min(end));
        (page, (from - page * PAGE) as usize..(to - page * PAGE) as usize, (from - offset) as usize)
    })
}

impl StorageBackend for Overlay {
    fn len(&self) -> Result<u64> {
        Ok(self.state().len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        let state = self.state();
        let end = offset.checked_add(out.len() as u64);
        if end.is_none_or(|end| end > state.len) {
            return Err(Error::from(ErrorKind::UnexpectedEof));
        }
        let in_file = state.base.saturating_sub(offset).min(out.len() as u64) as usize;
        self.file.read(offset, &mut out[..in_file])?;
        out[in_file..].fill(0);
        for (page, within, at) in spans(offset, out.len()) {
            if let Some(changed) = state.pages.get(&page) {
                let n = within.len();
                out[at..at + n].copy_from_slice(&changed[within]);
            }
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<()> {
        let mut state = self.state();
        if len < state.len {
            state.base = state.base.min(len);
            state.pages.retain(|page, _| page * PAGE < len);
            if let Some(last) = state.pages.get_mut(&(len / PAGE)) {
                last[(len % PAGE) as usize..].fill(0);
            }
        }
        state.len = len;
        Ok(())
    }

    fn sync_data(&self) -> Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<()> {
        let mut state = self.state();
        for (page, within, at) in spans(offset, data.len()) {
            if !state.pages.contains_key(&page) {
                let before = self.page_of_file(&state, page)?;
                state.pages.insert(page, before);
            }
            if let Some(target) = state.pages.get_mut(&page) {
                let n = within.len();
                target[within].copy_from_slice(&data[at..at + n]);
            }
        }
        Ok(())
    }

    fn close(&self) -> Result<()> {
        self.file.close()
    }

    /// Readers share: nobody who writes, any number of those who look.
    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> std::result::Result<bool, BackendError> {
        if self.locks { self.file.try_lock_shared_range(start, end) } else { Err(BackendError::Unsupported) }
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> std::result::Result<bool, BackendError> {
        self.try_lock_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> std::result::Result<(), BackendError> {
        if self.locks { self.file.unlock_range(start, end) } else { Err(BackendError::Unsupported) }
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> std::result::Result<bool, BackendError> {
        if self.locks { self.file.query_lock_range(start, end) } else { Err(BackendError::Unsupported) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn changes_are_seen_and_stay_in_memory() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let bytes: Vec<u8> = (0..10_000u32).map(|n| n as u8).collect();
        std::fs::write(&path, &bytes).unwrap();
        let overlay = Overlay::new(File::open(&path).unwrap(), true).unwrap();
        let mut plain = bytes.clone();
        for (offset, data) in [(0u64, &b"head"[..]), (4090, b"across pages"), (9_990, b"the end---")] {
            overlay.write(offset, data).unwrap();
            plain[offset as usize..offset as usize + data.len()].copy_from_slice(data);
        }
        let read = |overlay: &Overlay, offset: u64, n: usize| {
            let mut out = vec![7; n];
            overlay.read(offset, &mut out).map(|()| out)
        };
        assert_eq!(read(&overlay, 0, 10_000).unwrap(), plain);
        assert_eq!(read(&overlay, 4_000, 200).unwrap(), &plain[4_000..4_200]);
        // Cut and grown again, the part in between is zero, not what it was.
        overlay.set_len(4_500).unwrap();
        overlay.set_len(9_000).unwrap();
        plain.truncate(4_500);
        plain.resize(9_000, 0);
        assert_eq!(read(&overlay, 0, 9_000).unwrap(), plain);
        assert!(read(&overlay, 8_999, 2).is_err());
        overlay.write(5_000, b"again").unwrap();
        plain[5_000..5_005].copy_from_slice(b"again");
        assert_eq!(read(&overlay, 0, 9_000).unwrap(), plain);
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
    }
}
