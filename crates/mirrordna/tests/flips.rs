//! Every byte of a closed database file, changed: verification fails, or the
//! byte lies in a region that SQLite does not read.
//!
//! The dead regions are computed from the file format (sqlite.org/fileformat2,
//! sections 1.3, 1.5 and 1.6), not from what verification happens to miss. CI
//! takes every 41st byte; `MIRRORDNA_FLIPS=all` takes each.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod common;

use common::Place;
use mirrordna::{IdentityType, Witness};

const PAGE: usize = 4096;

fn varint(bytes: &[u8]) -> (u64, usize) {
    let mut value = 0u64;
    for (i, b) in bytes.iter().enumerate().take(9) {
        if i == 8 {
            return (value << 8 | u64::from(*b), 9);
        }
        value = value << 7 | u64::from(b & 0x7f);
        if b & 0x80 == 0 {
            return (value, i + 1);
        }
    }
    panic!("a varint without an end")
}

fn u16_at(bytes: &[u8], at: usize) -> usize {
    usize::from(u16::from_be_bytes([bytes[at], bytes[at + 1]]))
}

fn u32_at(bytes: &[u8], at: usize) -> usize {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
}

/// Which bytes of a database file carry something that is read.
fn live(file: &[u8]) -> Vec<bool> {
    let mut live = vec![false; file.len()];
    let mark = |live: &mut Vec<bool>, from: usize, to: usize| live[from..to].fill(true);
    // The file header, but for what is only counted, reserved, or consulted by
    // writers: the write version, change counter, free-list fields (none is
    // free here), schema cookie, all but the last byte of the schema format and
    // of the text encoding (SQLite keeps those only), page-cache hint,
    // incremental-vacuum fields, reserved bytes, version-valid-for, library.
    mark(&mut live, 0, 100);
    for (from, to) in [(18, 19), (20, 28), (32, 40), (40, 47), (48, 59), (64, 68), (72, 100)] {
        live[from..to].fill(false);
    }
    let mut pages = vec![1usize];
    // Roots stand in the schema table; children and overflow pages follow.
    let mut seen = std::collections::BTreeSet::new();
    while let Some(page) = pages.pop() {
        if !seen.insert(page) {
            continue;
        }
        let base = (page - 1) * PAGE;
        let head = base + if page == 1 { 100 } else { 0 };
        let kind = file[head];
        let interior = kind == 2 || kind == 5;
        let cells = u16_at(file, head + 3);
        let array = head + if interior { 12 } else { 8 };
        mark(&mut live, head, array + 2 * cells);
        // First free block, start of content and the count of fragments are
        // consulted by writers and by integrity_check only.
        if interior {
            pages.push(u32_at(file, head + 8));
        }
        for cell in 0..cells {
            let at = base + u16_at(file, array + 2 * cell);
            let mut end = at;
            if interior {
                pages.push(u32_at(file, at));
                end += 4;
            }
            if kind == 5 {
                let (_, n) = varint(&file[end..]);
                mark(&mut live, at, end + n);
                continue;
            }
            let (payload, n) = varint(&file[end..]);
            end += n;
            let rowid = end;
            if kind == 13 {
                end += varint(&file[end..]).1;
            }
            let after_rowid = end;
            let payload = payload as usize;
            let most = if kind == 13 { PAGE - 35 } else { (PAGE - 12) * 64 / 255 - 23 };
            let least = (PAGE - 12) * 32 / 255 - 23;
            let local = if payload <= most {
                payload
            } else {
                let k = least + (payload - least) % (PAGE - 4);
                if k <= most { k } else { least }
            };
            if page == 1 && kind == 13 {
                let (name, root) = object(&file[end..end + local]);
                // Derived data may be dropped, and is checked where it is used
                // (tests/views.rs).
                if name.starts_with(b"cache_") {
                    continue;
                }
                pages.extend(root);
            }
            end += local;
            if local < payload {
                let (mut next, mut left) = (u32_at(file, end), payload - local);
                end += 4;
                while next != 0 {
                    let at = (next - 1) * PAGE;
                    let here = left.min(PAGE - 4);
                    mark(&mut live, at, at + 4 + here);
                    left -= here;
                    next = u32_at(file, at);
                }
            }
            mark(&mut live, at, end);
            if page == 1 {
                // The number of a row of the schema table means nothing.
                live[rowid..after_rowid].fill(false);
            }
        }
    }
    live
}

/// Name and root page of a row of the schema table: its second and fourth
/// columns. Views have no pages of their own.
fn object(record: &[u8]) -> (&[u8], Option<usize>) {
    let (header, mut at) = varint(record);
    let mut types = Vec::new();
    while at < header as usize {
        let (t, n) = varint(&record[at..]);
        types.push(t);
        at += n;
    }
    let width = |t: u64| match t {
        0..=4 => t as usize,
        5 => 6,
        6 | 7 => 8,
        8 | 9 => 0,
        t => (t as usize - 12) / 2,
    };
    let column = |n: usize| {
        let start = header as usize + types[..n].iter().map(|t| width(*t)).sum::<usize>();
        &record[start..start + width(types[n])]
    };
    // A root of 1 is written as a constant.
    let root = if types[3] == 9 { 1 } else { column(3).iter().fold(0usize, |v, b| v << 8 | usize::from(*b)) };
    (column(1), Some(root).filter(|r| *r > 1))
}

#[test]
fn every_byte_is_checked_or_dead() {
    let place = Place::new();
    let engine = place.open();
    let agent = engine.identities().create(IdentityType::Agent).unwrap();
    let user = engine.identities().create(IdentityType::User).unwrap();
    let session = engine.sessions().start(&agent, &user).unwrap();
    (0..60).for_each(|i| drop(session.memories().add(format!("memory number {i}")).send().unwrap()));
    session.memories().add("long ".repeat(1500)).send().unwrap();
    session.end().unwrap();
    drop((agent, user));
    engine.close().unwrap();
    let file = std::fs::read(place.path()).unwrap();
    assert!(file.len() < 200_000, "{} bytes", file.len());
    let live = live(&file);
    assert!(live.iter().filter(|l| **l).count() * 2 > file.len(), "most of the file is read");

    let copy = place.dir.path().join("copy.db");
    let all = std::env::var("MIRRORDNA_FLIPS").is_ok_and(|v| v == "all");
    let (mut found, mut dead) = (0, 0);
    let mut unexplained = Vec::new();
    for at in (0..file.len()).step_by(if all { 1 } else { 41 }) {
        let mut altered = file.clone();
        // Of the text encoding only two bits are read: change one of them.
        altered[at] ^= if at == 59 { 2 } else { (at as u8).wrapping_mul(151) | 1 };
        std::fs::write(&copy, &altered).unwrap();
        for end in ["-wal", "-shm"] {
            let _absent = std::fs::remove_file(format!("{}{end}", copy.display()));
        }
        match place.at(&copy).witness(Witness::Off).verify() {
            Ok(report) if report.verdict == "intact" => {
                if live[at] {
                    unexplained.push(at);
                } else {
                    dead += 1;
                }
            }
            _ => found += 1,
        }
    }
    eprintln!("{} bytes: {found} changes found, {dead} in dead regions, {} unexplained", file.len(), unexplained.len());
    assert!(unexplained.is_empty(), "changes that passed: {:?}", &unexplained[..unexplained.len().min(40)]);
}
