//! The conformance kit: what every adapter must do, as assertions over the
//! port. An adapter's test calls [`run`] with a function that makes an empty
//! store.

#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used)]

use crate::{EventRow, LogRow, Outlined, ReadTx, Store, SubjectRow, WriteTx};
use mirrordna_core::{Code, Error};
use std::ops::Range;

/// Runs the whole kit; panics where the store does not conform.
///
/// # Panics
/// With the rule that the store breaks.
pub fn run(make: &mut dyn FnMut() -> Box<dyn Store>) {
    an_empty_store_has_nothing(&*make());
    what_was_written_is_read(&*make());
    an_error_leaves_nothing_behind(&*make());
    places_are_taken_once(&*make());
    logs_do_not_see_each_other(&*make());
    an_outline_is_of_the_rows_that_are_scanned(&*make());
    erasing_removes_body_and_secret(&*make());
    a_subjects_key_is_wrapped_anew(&*make());
    strays_are_found(&*make());
    derived_data_is_kept_and_dropped(&*make());
    writers_exclude_each_other(&*make());
}

fn log(number: u32, size: u64) -> LogRow {
    LogRow {
        number,
        id: [number as u8; 16],
        size,
        time: 5,
        frontier: vec![1; 32],
        checkpoint: "c".into(),
        signed_frontier: vec![2; 64],
        successor: None,
    }
}

fn subject(number: u64, log: u32) -> SubjectRow {
    SubjectRow { number, log, tag: vec![9; 32], key: vec![8; 40] }
}

fn read<T>(store: &dyn Store, mut f: impl FnMut(&dyn ReadTx) -> T) -> T {
    let mut out = None;
    store
        .read(&mut |tx| {
            out = Some(f(tx));
            Ok(())
        })
        .unwrap();
    out.unwrap()
}

fn fill(tx: &mut dyn WriteTx, number: u32, leaves: u64) {
    tx.put_log(&log(number, leaves)).unwrap();
    let subject = tx.put_subject(&subject(0, number)).unwrap();
    for i in 0..leaves {
        let (body, wrapped) = ([i as u8; 3], [i as u8; 40]);
        let even = i % 2 == 0;
        tx.put_event(number, i, &[number as u8, i as u8], even.then_some(&body[..]), even.then_some((subject, &wrapped))).unwrap();
    }
    tx.put_head(number, &[7; 32], leaves - 1).unwrap();
    tx.put_tile(number, 0, 0, &[3; 64]).unwrap();
}

fn an_empty_store_has_nothing(store: &dyn Store) {
    read(store, |tx| {
        assert!(tx.logs().unwrap().is_empty() && tx.log(1).unwrap().is_none());
        assert!(tx.leaf(1, 0).unwrap().is_none() && tx.head(1, &[0; 32]).unwrap().is_none());
        assert!(tx.strays().unwrap().is_empty());
    });
    assert!(store.check().unwrap().is_empty());
}

fn what_was_written_is_read(store: &dyn Store) {
    store
        .write(&mut |tx| {
            fill(tx, 1, 6);
            assert_eq!(tx.leaf(1, 3).unwrap().unwrap(), [1, 3], "a transaction sees its own writes");
            Ok(())
        })
        .unwrap();
    let left = LogRow { successor: Some(2), ..log(1, 6) };
    for row in [&left, &log(1, 6)] {
        store.write(&mut |tx| tx.put_log(row)).unwrap();
        read(store, |tx| assert_eq!(tx.log(1).unwrap().as_ref(), Some(row)));
    }
    read(store, |tx| {
        assert_eq!(tx.head(1, &[7; 32]).unwrap(), Some(5));
        assert_eq!(tx.tile(1, 0, 0).unwrap().unwrap(), [3; 64]);
        let subject = tx.subject(1, &[9; 32]).unwrap().unwrap();
        assert_eq!((subject.log, subject.tag.as_slice(), subject.key.as_slice()), (1, &[9u8; 32][..], &[8u8; 40][..]));
        let event = EventRow { leaf: vec![1, 4], body: Some(vec![4; 3]), secret: Some((subject.number, vec![4; 40])) };
        assert_eq!(tx.event(1, 4).unwrap(), Some(event));
        assert_eq!(tx.event(1, 3).unwrap(), Some(EventRow { leaf: vec![1, 3], ..EventRow::default() }));
        let mut seen = Vec::new();
        tx.scan(1, 1..5, &mut |row| {
            seen.push((row.index, row.leaf.to_vec(), row.body.map(<[u8]>::to_vec), row.secret.map(|(s, _)| s)));
            Ok(())
        })
        .unwrap();
        assert_eq!(seen.iter().map(|r| r.0).collect::<Vec<_>>(), [1, 2, 3, 4], "a scan is in order");
        assert_eq!(seen[1], (2, vec![1, 2], Some(vec![2; 3]), Some(subject.number)));
        assert_eq!((&seen[0].2, seen[0].3), (&None, None));
        let stop = tx.scan(1, 0..6, &mut |_| Err(Error::new(Code::InputInvalid, "enough")));
        assert_eq!(stop.unwrap_err().code(), Code::InputInvalid, "a scan stops where it is told to");
        let mut heads = Vec::new();
        tx.heads(1, &mut |a, i| {
            heads.push((a.to_vec(), i));
            Ok(())
        })
        .unwrap();
        assert_eq!(heads, [(vec![7; 32], 5)]);
    });
    store.maintain().unwrap();
    read(store, |tx| assert_eq!(tx.logs().unwrap().len(), 1));
}

fn an_error_leaves_nothing_behind(store: &dyn Store) {
    store
        .write(&mut |tx| {
            fill(tx, 1, 2);
            Ok(())
        })
        .unwrap();
    let failed = store.write(&mut |tx| {
        fill(tx, 2, 4);
        tx.put_log(&log(1, 99)).unwrap();
        tx.put_head(1, &[7; 32], 77).unwrap();
        tx.erase_body(1, 0).unwrap();
        Err(Error::new(Code::InputInvalid, "on purpose"))
    });
    assert_eq!(failed.unwrap_err().code(), Code::InputInvalid);
    read(store, |tx| {
        assert_eq!(tx.log(2).unwrap(), None);
        assert_eq!(tx.log(1).unwrap(), Some(log(1, 2)));
        assert_eq!(tx.head(1, &[7; 32]).unwrap(), Some(1));
        assert!(tx.leaf(2, 0).unwrap().is_none() && tx.subject(2, &[9; 32]).unwrap().is_none());
        assert!(tx.event(1, 0).unwrap().unwrap().secret.is_some());
    });
}

fn places_are_taken_once(store: &dyn Store) {
    store
        .write(&mut |tx| {
            fill(tx, 1, 2);
            Ok(())
        })
        .unwrap();
    assert!(store.write(&mut |tx| tx.put_event(1, 1, b"again", None, None)).is_err());
    assert!(store.write(&mut |tx| tx.put_subject(&subject(0, 1)).map(drop)).is_err());
    store.write(&mut |tx| tx.put_subject(&SubjectRow { tag: vec![7; 32], ..subject(40, 1) }).map(|n| assert_eq!(n, 40))).unwrap();
    read(store, |tx| assert_eq!(tx.leaf(1, 1).unwrap().unwrap(), [1, 1]));
}

fn logs_do_not_see_each_other(store: &dyn Store) {
    store
        .write(&mut |tx| {
            fill(tx, 1, 3);
            fill(tx, 2, 5);
            Ok(())
        })
        .unwrap();
    read(store, |tx| {
        let count = |n| {
            let mut c = 0;
            tx.scan(n, 0..u64::from(u32::MAX), &mut |row| {
                assert_eq!(u32::from(row.leaf[0]), n);
                c += 1;
                Ok(())
            })
            .unwrap();
            c
        };
        assert_eq!((count(1), count(2), count(3)), (3, 5, 0));
    });
}

fn an_outline_is_of_the_rows_that_are_scanned(store: &dyn Store) {
    store
        .write(&mut |tx| {
            fill(tx, 1, 4);
            fill(tx, 2, 2);
            tx.put_event(1, 4, b"a leaf", Some(b"a body in clear"), None)
        })
        .unwrap();
    read(store, |tx| {
        let both = |range: Range<u64>| {
            let (mut scanned, mut outlined) = (Vec::new(), Vec::new());
            let scan = tx.scan(1, range.clone(), &mut |row| {
                let sealed = row.body.filter(|_| row.secret.is_some()).map(|b| b.len() as u64);
                let clear = row.body.filter(|_| row.secret.is_none()).map(<[u8]>::to_vec);
                scanned.push((row.index, row.leaf.to_vec(), clear, sealed, row.secret.is_some()));
                Ok(())
            });
            let outline = tx.outline(1, range, &mut |row| {
                let (clear, sealed) = match row.body {
                    Outlined::Absent => (None, None),
                    Outlined::Clear(bytes) => (Some(bytes.to_vec()), None),
                    Outlined::Sealed(length) => (None, Some(length)),
                };
                outlined.push((row.index, row.leaf.to_vec(), clear, sealed, row.secret));
                Ok(())
            });
            scan.and(outline).unwrap();
            assert_eq!(scanned, outlined);
            scanned.len()
        };
        assert_eq!((both(0..u64::MAX), both(1..3), both(2..2)), (5, 2, 0));
    });
}

fn erasing_removes_body_and_secret(store: &dyn Store) {
    store
        .write(&mut |tx| {
            fill(tx, 1, 4);
            Ok(())
        })
        .unwrap();
    store
        .write(&mut |tx| {
            let subject = tx.subject(1, &[9; 32]).unwrap().unwrap().number;
            tx.erase_body(1, 2)?;
            tx.delete_subject(subject)
        })
        .unwrap();
    assert!(store.purge().unwrap(), "nobody reads an older state");
    read(store, |tx| {
        assert_eq!(tx.event(1, 2).unwrap(), Some(EventRow { leaf: vec![1, 2], ..EventRow::default() }));
        assert!(tx.event(1, 0).unwrap().unwrap().body.is_some() && tx.subject(1, &[9; 32]).unwrap().is_none());
        assert!(tx.subject_numbered(1).unwrap().is_none());
    });
    // What comes after is durable like anything else, and can be purged again.
    store.write(&mut |tx| tx.put_event(1, 4, &[1, 4], None, None)).unwrap();
    assert!(store.purge().unwrap());
    read(store, |tx| assert_eq!(tx.leaf(1, 4).unwrap().unwrap(), [1, 4]));
}

fn a_subjects_key_is_wrapped_anew(store: &dyn Store) {
    store
        .write(&mut |tx| {
            fill(tx, 1, 3);
            fill(tx, 2, 1);
            Ok(())
        })
        .unwrap();
    let all = |tx: &dyn ReadTx| {
        let mut rows = Vec::new();
        tx.subjects(&mut |row| {
            rows.push(row);
            Ok(())
        })
        .unwrap();
        rows
    };
    let before = read(store, all);
    let (first, events) = (before[0].number, |tx: &dyn ReadTx| (0..3).map(|i| tx.event(1, i).unwrap()).collect::<Vec<_>>());
    let stored = read(store, events);
    // Nothing of it is there after an error.
    let refused = store.write(&mut |tx| {
        tx.rewrap_subject(first, &[7; 44])?;
        assert_eq!(tx.subject_numbered(first)?.unwrap().key, [7; 44], "it is seen inside the transaction");
        Err(Error::new(Code::InputInvalid, "no"))
    });
    assert!(refused.is_err() && read(store, all) == before);
    store
        .write(&mut |tx| {
            tx.rewrap_subject(first, &[7; 44])?;
            tx.rewrap_subject(before.len() as u64 + 99, &[7; 44])
        })
        .unwrap();
    let after = read(store, all);
    assert_eq!(after[0], SubjectRow { key: vec![7; 44], ..before[0].clone() });
    assert_eq!((&after[1..], read(store, events)), (&before[1..], stored), "nothing else is touched");
    let tag = before[0].tag.as_slice().try_into().unwrap();
    assert_eq!(read(store, |tx| tx.subject(before[0].log, &tag).unwrap()), Some(after[0].clone()));
}

fn strays_are_found(store: &dyn Store) {
    store
        .write(&mut |tx| {
            tx.put_log(&log(1, 1))?;
            tx.put_event(1, 0, b"a leaf", None, None)?;
            tx.put_event(1, 1, b"beyond the size", None, None)?;
            tx.put_event(7, 0, b"of no log", None, None)?;
            tx.put_tile(1, 0, 0, &[0; 8192])
        })
        .unwrap();
    read(store, |tx| assert_eq!(tx.strays().unwrap().len(), 3));
}

fn derived_data_is_kept_and_dropped(store: &dyn Store) {
    let last = ((1 << 23) - 1, (1 << 20) - 1);
    store
        .write(&mut |tx| {
            for (log, segment, block) in [(1, 0, 0), (1, 5, 0), (1, 5, 1), (1, 6, 3), (1, last.0, last.1), (2, 0, 0), (2, 5, 1)] {
                tx.put_cache(log, segment, block, &[log as u8, segment as u8, block as u8])?;
            }
            tx.put_cache(1, 5, 1, b"replaced")
        })
        .unwrap();
    read(store, |tx| {
        assert_eq!(tx.cache(1, 5, 1).unwrap().as_deref(), Some(&b"replaced"[..]));
        assert_eq!(tx.cache(1, last.0, last.1).unwrap().as_deref(), Some(&[1, 255, 255][..]));
        assert_eq!(tx.cache(1, 5, 2).unwrap(), None);
        assert!(tx.strays().unwrap().is_empty(), "derived data is no evidence");
    });
    store.write(&mut |tx| tx.drop_cache(1, &[6, 0])).unwrap();
    read(store, |tx| {
        let there = |log, segment, block| tx.cache(log, segment, block).unwrap().is_some();
        assert!(there(1, 0, 0) && there(1, 6, 3) && there(2, 0, 0) && there(2, 5, 1));
        assert!(!there(1, 5, 0) && !there(1, 5, 1) && !there(1, last.0, last.1));
    });
}

fn writers_exclude_each_other(store: &dyn Store) {
    store.write(&mut |tx| tx.put_log(&log(1, 0))).unwrap();
    std::thread::scope(|s| {
        for _ in 0..4 {
            s.spawn(|| {
                for _ in 0..25 {
                    store
                        .write(&mut |tx| {
                            let mut row = tx.log(1)?.unwrap();
                            tx.put_event(1, row.size, &[1], None, None)?;
                            row.size += 1;
                            tx.put_log(&row)
                        })
                        .unwrap();
                }
            });
        }
    });
    read(store, |tx| assert_eq!(tx.log(1).unwrap().unwrap().size, 100));
}
