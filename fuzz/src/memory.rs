//! Counts what a decoder allocates.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    /// Bytes in use by this thread, and the most there were.
    static USED: Cell<(isize, isize)> = const { Cell::new((0, 0)) };
}

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

fn count(change: isize) {
    // Memory may be freed while a thread ends and its counters are gone.
    let _ = USED.try_with(|used| {
        let (now, most) = used.get();
        used.set((now + change, most.max(now + change)));
    });
}

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as isize - layout.size() as isize);
        unsafe { System.realloc(at, layout, size) }
    }
}

/// Runs a decoder on `bytes`; it may take `fixed` bytes of memory and `factor`
/// more for each byte of its input.
pub(crate) fn bounded<T>(bytes: &[u8], factor: usize, fixed: usize, decode: impl FnOnce() -> T) -> T {
    let before = USED.with(|used| {
        let (now, _) = used.get();
        used.set((now, now));
        now
    });
    let decoded = decode();
    let taken = USED.with(|used| used.get().1 - before);
    let allowed = fixed + factor * bytes.len();
    assert!(taken <= allowed as isize, "{taken} bytes of memory for {} bytes of input, {allowed} are allowed", bytes.len());
    decoded
}
