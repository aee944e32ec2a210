//! The VFS: SQLite's own unix VFS with a [`Disk`] looking on.
//!
//! A file on a mounted folder is a [`Shadowed`] in SQLite's memory with the
//! unix VFS's file behind it. Everything else (temporary files, other folders)
//! is the unix VFS's alone.

use crate::disk::{Disk, Failure, FileNo, Verdict};
use rusqlite::ffi;
use std::ffi::{CStr, OsStr, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::{Arc, OnceLock};

/// The VFS that was the default before.
struct Real(*mut ffi::sqlite3_vfs);
// SAFETY: SQLite shares its VFS between threads; it is never changed or freed.
unsafe impl Send for Real {}
// SAFETY: as above.
unsafe impl Sync for Real {}

static REAL: OnceLock<Real> = OnceLock::new();

fn real() -> *mut ffi::sqlite3_vfs {
    REAL.get().map_or(ptr::null_mut(), |r| r.0)
}

/// What is known of an open file.
struct Shadow {
    disk: Arc<Disk>,
    path: PathBuf,
    file: FileNo,
    /// A rollback journal or a write-ahead log.
    journal: bool,
}

/// SQLite's handle of a file on a mounted folder; the unix VFS's own handle
/// lies right behind it.
#[repr(C)]
struct Shadowed {
    base: ffi::sqlite3_file,
    shadow: *mut Shadow,
}

/// Makes the VFS the default of this process. Doing so again changes nothing.
///
/// # Panics
/// Never; where SQLite has no VFS or refuses this one, nothing is watched and
/// every test that counts points fails.
pub fn install() {
    REAL.get_or_init(|| {
        // SAFETY: asks SQLite, which initialises itself, for its default VFS.
        let real = unsafe { ffi::sqlite3_vfs_find(ptr::null()) };
        if !real.is_null() {
            // SAFETY: `real` points to the default VFS, which lives as long as
            // the process.
            let mut vfs = unsafe { *real };
            let own = size_of::<Shadowed>() as c_int;
            vfs.szOsFile += own;
            vfs.pNext = ptr::null_mut();
            vfs.zName = c"faults".as_ptr();
            vfs.xOpen = Some(open);
            vfs.xDelete = Some(delete);
            // The rest is the unix VFS's, whose functions look at pAppData
            // (copied) and mxPathname only.
            // SAFETY: SQLite keeps the pointer, so the VFS is never freed.
            let _not_registered_shows_as_no_points = unsafe { ffi::sqlite3_vfs_register(Box::into_raw(Box::new(vfs)), 1) };
        }
        Real(real)
    });
}

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    // Version 2: shared memory, but no memory-mapped pages, which would be
    // read past this file.
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

/// The unix VFS's handle behind ours.
///
/// # Safety
/// `file` is a handle that [`open`] made.
unsafe fn inner(file: *mut ffi::sqlite3_file) -> *mut ffi::sqlite3_file {
    // SAFETY: SQLite allocated szOsFile bytes: ours and the unix VFS's.
    unsafe { file.cast::<Shadowed>().add(1).cast() }
}

/// # Safety
/// `file` is a handle that [`open`] made and that is not closed.
unsafe fn shadow<'a>(file: *mut ffi::sqlite3_file) -> &'a Shadow {
    // SAFETY: set by `open` to a leaked box, freed by `close` alone.
    unsafe { &*(*file.cast::<Shadowed>()).shadow }
}

/// Calls a method of the unix VFS's handle.
macro_rules! pass {
    ($file:expr, $method:ident, $default:expr $(, $arg:expr)*) => {{
        // SAFETY: SQLite calls methods only on handles that were opened.
        let inner = unsafe { inner($file) };
        // SAFETY: the unix VFS set its methods when it opened the handle.
        match unsafe { (*(*inner).pMethods).$method } {
            // SAFETY: the arguments are SQLite's own.
            Some(method) => unsafe { method(inner $(, $arg)*) },
            None => $default,
        }
    }};
}

fn path_of(name: *const c_char) -> Option<PathBuf> {
    if name.is_null() {
        return None;
    }
    // SAFETY: SQLite's names are C strings that live during the call.
    let bytes = unsafe { CStr::from_ptr(name) }.to_bytes();
    Some(Path::new(OsStr::from_bytes(bytes)).to_owned())
}

const fn code(failure: Failure, io: c_int) -> c_int {
    match failure {
        Failure::Io => io,
        Failure::Full => ffi::SQLITE_FULL,
    }
}

unsafe extern "C" fn open(
    _vfs: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    let real = real();
    // SAFETY: the default VFS has an open function.
    let Some(real_open) = (unsafe { (*real).xOpen }) else { return ffi::SQLITE_CANTOPEN };
    let watched = if flags & ffi::SQLITE_OPEN_DELETEONCLOSE == 0 { path_of(name) } else { None };
    let Some((path, disk)) = watched.and_then(|p| Disk::of(&p).map(|d| (p, d))) else {
        // SAFETY: the arguments are SQLite's; the handle is larger than needed.
        return unsafe { real_open(real, name, file, flags, out) };
    };
    // SAFETY: SQLite allocated szOsFile bytes for the handle.
    unsafe { (*file).pMethods = ptr::null() };
    if disk.is_dead() {
        return ffi::SQLITE_CANTOPEN;
    }
    let created = !path.exists();
    // SAFETY: the unix VFS's part of the handle lies behind ours.
    let rc = unsafe { real_open(real, name, inner(file), flags, out) };
    if rc == ffi::SQLITE_OK {
        let journal = flags & (ffi::SQLITE_OPEN_WAL | ffi::SQLITE_OPEN_MAIN_JOURNAL) != 0;
        let number = disk.opened(&path, created, journal);
        let shadow = Box::new(Shadow { disk, path, file: number, journal });
        // SAFETY: as above; the box is freed in `close`.
        unsafe {
            (*file.cast::<Shadowed>()).shadow = Box::into_raw(shadow);
            (*file).pMethods = &raw const METHODS;
        }
    }
    rc
}

unsafe extern "C" fn delete(_vfs: *mut ffi::sqlite3_vfs, name: *const c_char, folder: c_int) -> c_int {
    let real = real();
    // SAFETY: the default VFS has a delete function.
    let Some(real_delete) = (unsafe { (*real).xDelete }) else { return ffi::SQLITE_IOERR_DELETE };
    let watched = path_of(name).filter(|p| p.exists()).and_then(|p| Disk::of(&p).map(|d| (p, d)));
    if let Some((path, disk)) = watched
        && let Verdict::Fail(failure) = disk.delete(&path, folder != 0)
    {
        return code(failure, ffi::SQLITE_IOERR_DELETE);
    }
    // SAFETY: the arguments are SQLite's; nothing is synced for real.
    unsafe { real_delete(real, name, 0) }
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    let rc = pass!(file, xClose, ffi::SQLITE_OK);
    // SAFETY: made by `open` from a box; SQLite closes a handle once.
    let shadow = unsafe { Box::from_raw((*file.cast::<Shadowed>()).shadow) };
    shadow.disk.closed(&shadow.path, shadow.file, shadow.journal);
    rc
}

unsafe extern "C" fn read(file: *mut ffi::sqlite3_file, to: *mut c_void, amount: c_int, at: i64) -> c_int {
    // SAFETY: an open handle.
    if unsafe { shadow(file) }.disk.is_dead() {
        return ffi::SQLITE_IOERR_READ;
    }
    pass!(file, xRead, ffi::SQLITE_IOERR_READ, to, amount, at)
}

unsafe extern "C" fn write(file: *mut ffi::sqlite3_file, from: *const c_void, amount: c_int, at: i64) -> c_int {
    // SAFETY: an open handle.
    let shadow = unsafe { shadow(file) };
    // SAFETY: SQLite hands over `amount` bytes.
    let data = unsafe { std::slice::from_raw_parts(from.cast::<u8>(), usize::try_from(amount).unwrap_or(0)) };
    match shadow.disk.write(shadow.file, u64::try_from(at).unwrap_or(0), data) {
        Verdict::Go => pass!(file, xWrite, ffi::SQLITE_IOERR_WRITE, from, amount, at),
        Verdict::Fail(failure) => {
            let _fails_anyway = pass!(file, xWrite, ffi::SQLITE_IOERR_WRITE, from, amount / 2, at);
            code(failure, ffi::SQLITE_IOERR_WRITE)
        }
    }
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, size: i64) -> c_int {
    // SAFETY: an open handle.
    let shadow = unsafe { shadow(file) };
    match shadow.disk.truncate(shadow.file, u64::try_from(size).unwrap_or(0)) {
        Verdict::Go => pass!(file, xTruncate, ffi::SQLITE_IOERR_TRUNCATE, size),
        Verdict::Fail(failure) => code(failure, ffi::SQLITE_IOERR_TRUNCATE),
    }
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, _flags: c_int) -> c_int {
    // SAFETY: an open handle.
    let shadow = unsafe { shadow(file) };
    match shadow.disk.sync(shadow.file) {
        Verdict::Go => ffi::SQLITE_OK,
        Verdict::Fail(failure) => code(failure, ffi::SQLITE_IOERR_FSYNC),
    }
}

unsafe extern "C" fn file_size(file: *mut ffi::sqlite3_file, out: *mut i64) -> c_int {
    pass!(file, xFileSize, ffi::SQLITE_IOERR_FSTAT, out)
}

unsafe extern "C" fn lock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    pass!(file, xLock, ffi::SQLITE_OK, level)
}

unsafe extern "C" fn unlock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    pass!(file, xUnlock, ffi::SQLITE_OK, level)
}

unsafe extern "C" fn check_reserved_lock(file: *mut ffi::sqlite3_file, out: *mut c_int) -> c_int {
    pass!(file, xCheckReservedLock, ffi::SQLITE_OK, out)
}

unsafe extern "C" fn file_control(file: *mut ffi::sqlite3_file, op: c_int, arg: *mut c_void) -> c_int {
    pass!(file, xFileControl, ffi::SQLITE_NOTFOUND, op, arg)
}

unsafe extern "C" fn sector_size(file: *mut ffi::sqlite3_file) -> c_int {
    pass!(file, xSectorSize, 4096)
}

unsafe extern "C" fn device_characteristics(file: *mut ffi::sqlite3_file) -> c_int {
    pass!(file, xDeviceCharacteristics, 0)
}

unsafe extern "C" fn shm_map(file: *mut ffi::sqlite3_file, page: c_int, size: c_int, extend: c_int, out: *mut *mut c_void) -> c_int {
    pass!(file, xShmMap, ffi::SQLITE_IOERR_SHMMAP, page, size, extend, out)
}

unsafe extern "C" fn shm_lock(file: *mut ffi::sqlite3_file, offset: c_int, n: c_int, flags: c_int) -> c_int {
    pass!(file, xShmLock, ffi::SQLITE_IOERR_SHMLOCK, offset, n, flags)
}

unsafe extern "C" fn shm_barrier(file: *mut ffi::sqlite3_file) {
    pass!(file, xShmBarrier, ());
}

unsafe extern "C" fn shm_unmap(file: *mut ffi::sqlite3_file, delete: c_int) -> c_int {
    pass!(file, xShmUnmap, ffi::SQLITE_OK, delete)
}
