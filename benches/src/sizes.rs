//! How large proofs are: paths, `tlog-proof` files, and what a bundle of one
//! event is made of.

use crate::tools::{Fallible, agent, fill, open};
use mirrordna::SystemEntropy;
use mirrordna::proof::{self, Policy};
use mirrordna_core::keys::SecretKey;
use mirrordna_core::proof::{Tiles, consistency, inclusion, tlog_proof};
use mirrordna_core::verify::cbor::{Reader, Type, Writer};
use mirrordna_core::verify::hash;
use mirrordna_core::verify::merkle::{extends, includes, root_of};
use mirrordna_core::verify::note::{Checkpoint, assemble, origin};
use mirrordna_core::{Hash, Leaf};

/// Indexes and sizes that are looked at, of each tree.
const LOOKS: u64 = 1_000;

pub(crate) fn run(rest: &[String]) -> Fallible<()> {
    let events: usize = rest.first().map_or(Ok(1_000_000), |n| n.parse())?;
    [1_000, 1_000_000].into_iter().try_for_each(tree)?;
    let dir = tempfile::tempdir()?;
    let engine = open(dir.path())?;
    let agent = agent(&engine)?;
    fill(&agent, 0..events, 1_000)?;
    let checkpoint = engine.main().checkpoint()?;
    let size = engine.main().check_checkpoint(&checkpoint)?;
    let one = engine.main().tlog_proof(&checkpoint, size / 2)?;
    println!("a log of {size}: tlog-proof {} bytes, its leaf in it as extra data", one.len());
    let mut file = Vec::new();
    let policy = Policy::default().and(*engine.fingerprint().as_bytes());
    let from = |aseq: u64| -> Fallible<u64> {
        let mut position = size / 2;
        while engine.timeline().get(position)?.aseq % 64 != aseq {
            position += 1;
        }
        Ok(position)
    };
    // In the middle of what one signature covers.
    engine.main().prove(&[from(31)?]).write(&mut file)?;
    bundle(&file, &policy)?;
    file.clear();
    let bundled = engine.main().prove(&[from(63)?]).write(&mut file)?;
    println!("a bundle of one event that is signed itself: {} bytes, {} leaves, {}", file.len(), bundled.events, judged(&file, &policy)?.0);
    drop(agent);
    Ok(engine.close()?)
}

/// A tree of so many leaves: all levels of its full tiles.
struct Tree(Vec<Vec<Hash>>);

impl Tree {
    fn of(size: u64) -> Self {
        let mut levels: Vec<Vec<Hash>> = vec![(0..size).map(|i| hash::leaf(&i.to_be_bytes())).collect()];
        while let Some(last) = levels.last().filter(|l| l.len() >= 256) {
            let above = last.chunks_exact(256).map(root_of).collect();
            levels.push(above);
        }
        Self(levels)
    }
}

impl Tiles for Tree {
    fn tile(&self, level: u8, number: u64) -> mirrordna::Result<Option<Vec<Hash>>> {
        let from = number as usize * 256;
        Ok(self.0.get(usize::from(level)).and_then(|hashes| hashes.get(from..from + 256)).map(<[Hash]>::to_vec))
    }

    fn leaves(&self, from: u64, to: u64) -> mirrordna::Result<Vec<Hash>> {
        Ok(self.0.first().and_then(|leaves| leaves.get(from as usize..to as usize)).unwrap_or_default().to_vec())
    }
}

fn span(values: &[usize]) -> String {
    let (least, most) = (values.iter().min().copied().unwrap_or(0), values.iter().max().copied().unwrap_or(0));
    if least == most { least.to_string() } else { format!("{least} to {most}") }
}

/// Paths and files in a tree of `size` leaves.
fn tree(size: u64) -> Fallible<()> {
    let tree = Tree::of(size);
    let leaves = tree.0.first().ok_or("a tree without leaves")?;
    let (root, key, name) = (root_of(leaves), SecretKey::generate(&SystemEntropy)?, origin(&[7; 16]));
    let text = Checkpoint { origin: &name, size, root }.text();
    let note = assemble(&text, &name, key.public(), &key.sign_bytes(text.as_bytes()));
    let (mut paths, mut files, mut between) = (Vec::new(), Vec::new(), Vec::new());
    for look in 0..LOOKS {
        let index = look * (size / LOOKS);
        let path = inclusion(&tree, index, size)?;
        let leaf = leaves.get(index as usize).ok_or("an index without a leaf")?;
        if !includes(&root, size, index, leaf, &path) {
            return Err(format!("the path of {index} in {size} does not lead to the root").into());
        }
        files.push(tlog_proof(index, &path, &note, None).len());
        paths.push(path.len());
        between.push(consistency(&tree, index + 1, size)?.len());
    }
    let (first, rest) = (613 * (size / 1_000), leaves.get(..613 * (size as usize / 1_000)).unwrap_or_default());
    let known = consistency(&tree, first, size)?;
    if !extends(first, &root_of(rest), size, &root, &known) {
        return Err(format!("{size} does not extend {first}").into());
    }
    let most = u64::from(size.next_power_of_two().ilog2());
    println!(
        "n = {size}: inclusion {} hashes ({} bytes; 32*ceil(log2 n) = {}), consistency {} hashes (2*ceil(log2 n) = {}), of {first} {}",
        span(&paths),
        span(&paths.iter().map(|p| p * 32).collect::<Vec<_>>()),
        32 * most,
        span(&between),
        2 * most,
        known.len()
    );
    println!("  tlog-proof file {} bytes, of it checkpoint {}", span(&files), note.len());
    Ok(())
}

/// A frame of a bundle that holds an event.
struct Shown {
    index: u64,
    asked: bool,
    leaf: usize,
    body: usize,
    path: usize,
    kind: &'static str,
}

fn shown(frame: &[u8]) -> Fallible<Option<Shown>> {
    let mut r = Reader::new(frame);
    if r.array()? != 7 || r.uint()? != 1 {
        return Ok(None);
    }
    let (index, asked) = (r.uint()?, r.uint()? == 0);
    let leaf = r.bytes()?;
    let kind = Leaf::decode(leaf)?.header.kind.name().unwrap_or("unknown");
    let mut length = || -> Fallible<usize> {
        Ok(match r.peek()? {
            Type::Bytes => r.bytes()?.len(),
            _ => {
                r.skip()?;
                0
            }
        })
    };
    let (body, _secret, path) = (length()?, length()?, length()?);
    Ok(Some(Shown { index, asked, leaf: leaf.len(), body, path, kind }))
}

/// A bundle of some of its frames, with the last frame that they ask for.
fn joined(head: &[u8], frames: &[&[u8]]) -> Vec<u8> {
    let mut out = head.to_vec();
    let mut events = 0;
    for frame in frames {
        out.extend_from_slice(&(frame.len() as u32).to_be_bytes());
        out.extend_from_slice(frame);
        events += u64::from(matches!(shown(frame), Ok(Some(_))));
    }
    let mut w = Writer::with_capacity(64);
    w.array(3).uint(9).uint(events).bytes(&hash::sha256(&[&out]));
    let last = w.into_bytes();
    out.extend_from_slice(&(last.len() as u32).to_be_bytes());
    out.extend_from_slice(&last);
    out
}

/// Verdict, findings, events that are not attributed.
fn judged(file: &[u8], policy: &Policy) -> Fallible<(&'static str, usize, u64)> {
    let judged = proof::judge(&mut &*file, policy.clone(), &[], &mut |_| {})?;
    let unattributed = judged.logs.iter().map(|log| log.report.unattributed).sum();
    Ok((judged.verdict.name(), judged.problems.len(), unattributed))
}

/// What a bundle is made of, and what it says without each of its events.
fn bundle(file: &[u8], policy: &Policy) -> Fallible<()> {
    let first = file.iter().position(|b| *b == b'\n').ok_or("a bundle without a first line")? + 1;
    let (head, mut rest) = file.split_at(first);
    let mut frames = Vec::new();
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let (frame, after) = after.split_at(u32::from_be_bytes(*length) as usize);
        frames.push(frame);
        rest = after;
    }
    // The last one is made anew.
    frames.pop();
    let whole = judged(&joined(head, &frames), policy)?;
    println!("a bundle of one event: {} bytes, {}", file.len(), whole.0);
    let (mut links, mut bytes, mut needless) = (0, 0, Vec::new());
    for (at, frame) in frames.iter().enumerate() {
        let Some(event) = shown(frame)? else {
            println!("  {:6} bytes  section, with its checkpoint", frame.len() + 4);
            continue;
        };
        let without: Vec<&[u8]> = frames.iter().enumerate().filter(|(i, _)| *i != at).map(|(_, f)| *f).collect();
        if !event.asked && judged(&joined(head, &without), policy)? == whole {
            needless.push(event.index);
        }
        if event.path == 0 {
            (links, bytes) = (links + 1, bytes + frame.len() + 4);
            continue;
        }
        println!(
            "  {:6} bytes  {} at {}: leaf {}, body {}, path {}{}",
            frame.len() + 4,
            event.kind,
            event.index,
            event.leaf,
            event.body,
            event.path,
            if event.asked { ", asked for" } else { "" }
        );
    }
    println!("  {bytes:6} bytes  {links} leaves that join it to the next signature");
    println!("  events without any one of which the judgement is the same: {needless:?}");
    let attributed: Vec<&[u8]> =
        frames.iter().copied().filter(|f| !matches!(shown(f), Ok(Some(event)) if event.path == 0 && !event.asked)).collect();
    let (verdict, problems, unattributed) = judged(&joined(head, &attributed), policy)?;
    println!("  without all that join: {verdict}, {problems} findings, {unattributed} not attributed");
    Ok(())
}
