//! Events on their way into a log, and the log's tree.
//!
//! A [`Draft`] is everything about an event that can be known before the
//! commit: its body is already encrypted. [`Draft::place`] adds what only the
//! commit knows (position, previous leaf, time).

use crate::body::{Body, Media, field, schema};
use crate::canon::{Value, check_document, check_name};
use crate::cipher::{self, Binding, Secret};
use crate::keys::SecretKey;
use crate::{Code, Entropy, Error, Hash, Header, Kind, Result, limits};
use mirrordna_verify::body::PublicBody;
use mirrordna_verify::hash;
use mirrordna_verify::leaf;
use mirrordna_verify::merkle::Frontier;

/// Prefix of the ids of application events.
pub const PREFIX: &str = "evt";

const TYPE: u64 = 6;

/// A private body, encrypted and waiting for its place.
#[derive(Debug, Clone)]
pub struct Sealed {
    /// The row to store.
    pub row: Vec<u8>,
    /// What the header says of it.
    pub commitment: Hash,
    /// Padded length, for the header.
    pub length: u64,
    /// The body's secret, to be wrapped in the commit.
    pub secret: Secret,
    /// Tag of the subject under whose key the secret is wrapped.
    pub subject: Hash,
}

/// What an event says.
#[derive(Debug, Clone)]
pub enum DraftBody {
    /// Nothing.
    None,
    /// A public template.
    Public(Vec<u8>),
    /// An encrypted body.
    Private(Box<Sealed>),
}

/// An event without its place.
#[derive(Debug, Clone)]
pub struct Draft {
    /// What it is.
    pub kind: Kind,
    /// Session tag, or zeros.
    pub session: [u8; 16],
    /// What it says.
    pub body: DraftBody,
    /// Leaf hashes it refers to.
    pub refs: Vec<Hash>,
    /// It is signed itself, whatever its kind asks for.
    pub signed: bool,
}

impl Draft {
    /// An event with a public body.
    #[must_use]
    pub fn public(body: &PublicBody<'_>) -> Self {
        Self { kind: body.kind(), session: [0; 16], body: DraftBody::Public(body.encode()), refs: Vec::new(), signed: false }
    }

    /// An event without a body.
    #[must_use]
    pub const fn empty(kind: Kind) -> Self {
        Self { kind, session: [0; 16], body: DraftBody::None, refs: Vec::new(), signed: false }
    }

    /// An event with a private body, which is encrypted here.
    ///
    /// # Errors
    /// `limit.exceeded`, or if the source of randomness fails.
    pub fn private(kind: Kind, log: &[u8; 16], actor: &Hash, body: &Body, subject: Hash, entropy: &dyn Entropy) -> Result<Self> {
        let plain = body.encode_padded()?;
        let secret = Secret::generate(entropy)?;
        let row = cipher::seal(&secret, Binding { log, actor, kind }, &plain)?;
        let commitment = hash::private_body(&row);
        let sealed = Sealed { row, commitment, length: plain.len() as u64, secret, subject };
        Ok(Self { kind, session: [0; 16], body: DraftBody::Private(Box::new(sealed)), refs: Vec::new(), signed: false })
    }

    /// The same, in a session.
    #[must_use]
    pub const fn in_session(mut self, session: [u8; 16]) -> Self {
        self.session = session;
        self
    }

    /// The same, referring to other leaves.
    ///
    /// # Errors
    /// `limit.exceeded` for more than 1,024.
    pub fn referring_to(mut self, refs: Vec<Hash>) -> Result<Self> {
        if refs.len() > limits::REFS {
            return Err(Error::new(Code::LimitExceeded, format!("{} references, the limit is {}", refs.len(), limits::REFS)));
        }
        self.refs = refs;
        Ok(self)
    }

    /// The same, signed at once instead of by a later event of its chain.
    #[must_use]
    pub const fn signed(mut self) -> Self {
        self.signed = true;
        self
    }

    /// The bytes stored beside the leaf, if any.
    #[must_use]
    pub fn row(&self) -> Option<&[u8]> {
        match &self.body {
            DraftBody::None => None,
            DraftBody::Public(bytes) => Some(bytes),
            DraftBody::Private(sealed) => Some(&sealed.row),
        }
    }

    /// The header at a place.
    #[must_use]
    pub fn place(&self, place: &Place) -> Header {
        let (body, length) = match &self.body {
            DraftBody::None => (hash::NONE, 0),
            DraftBody::Public(bytes) => (hash::public_body(bytes), bytes.len() as u64),
            DraftBody::Private(sealed) => (sealed.commitment, sealed.length),
        };
        Header {
            log: place.log,
            actor: place.actor,
            aseq: place.aseq,
            prev: place.prev,
            signer: place.signer,
            time: place.time,
            kind: self.kind,
            session: self.session,
            body,
            length,
            refs: self.refs.clone(),
        }
    }
}

/// What only the commit knows of an event.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// The log.
    pub log: [u8; 16],
    /// The actor.
    pub actor: Hash,
    /// Number in the actor's chain.
    pub aseq: u64,
    /// Leaf hash before it in that chain.
    pub prev: Hash,
    /// Whose key speaks for it.
    pub signer: u64,
    /// Milliseconds.
    pub time: u64,
}

/// Leaf data of a header, signed if a key is given.
#[must_use]
pub fn leaf_data(header: &Header, key: Option<&SecretKey>) -> Vec<u8> {
    let bytes = header.encode();
    match key {
        None => bytes,
        Some(key) => {
            let id = key.public().id();
            let signature = key.sign_bytes(&leaf::signed_bytes(&bytes, &id));
            leaf::encode_signed(&bytes, &id, &signature)
        }
    }
}

/// Leaves in one tile (C2SP tlog-tiles).
pub const TILE: u64 = 256;

/// The growing tree of a log: its right edge and the leaf hashes of the tile
/// that is not full yet.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    frontier: Frontier,
    tail: Vec<Hash>,
}

impl Tree {
    /// A tree from its stored right edge and the leaf hashes since the last
    /// full tile.
    ///
    /// # Errors
    /// `log.altered` if the two do not belong together.
    pub fn resume(frontier: Frontier, tail: Vec<Hash>) -> Result<Self> {
        let own = Self { frontier, tail };
        let whole = own.frontier.size() % TILE == own.tail.len() as u64;
        // The nodes of the last, partial tile are those that the tail makes.
        let mut partial = Frontier::new();
        own.tail.iter().for_each(|h| partial.push(*h));
        if whole && own.frontier.to_bytes().ends_with(&partial.to_bytes()) {
            return Ok(own);
        }
        Err(Error::new(Code::Altered, "the tree's right edge is not that of its leaves"))
    }

    /// The right edge.
    #[must_use]
    pub const fn frontier(&self) -> &Frontier {
        &self.frontier
    }

    /// Number of leaves.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.frontier.size()
    }

    /// Appends a leaf hash; returns the tile that it completes: its number and
    /// 256 hashes.
    pub fn push(&mut self, leaf: Hash) -> Option<(u64, Vec<u8>)> {
        self.frontier.push(leaf);
        self.tail.push(leaf);
        if self.tail.len() as u64 != TILE {
            return None;
        }
        let tile = self.tail.concat();
        self.tail.clear();
        Some((self.frontier.size() / TILE - 1, tile))
    }
}

/// What a caller says when an application event is appended.
#[derive(Debug, Clone, Default)]
pub struct NewEvent {
    /// What happened: any name of at most [`limits::NAME`] bytes without
    /// control characters; by habit dotted, for example `booking.requested`.
    pub event_type: String,
    /// JSON payload, kept verbatim.
    pub payload: Option<String>,
    /// Session id.
    pub session: Option<String>,
    /// Whose data this is.
    pub subject: Option<String>,
    /// When it happened, milliseconds since 1970-01-01 UTC.
    pub occurred_at: Option<i64>,
}

impl NewEvent {
    /// The body, checked.
    ///
    /// # Errors
    /// `input.invalid`, `json.invalid` or `limit.exceeded`, naming the field.
    pub fn into_body(self, id: &str) -> Result<Body> {
        let named = |value: Option<String>, what: &str| value.map(|v| check_name(&v, what).map(Value::from)).transpose();
        let body = Body::new(schema::EVENT, id)
            .with(field::SUBJECT, named(self.subject, "the subject")?)
            .with(field::OCCURRED_AT, self.occurred_at)
            .with(field::SESSION, named(self.session, "the session")?)
            .with(TYPE, Some(check_name(&self.event_type, "the event type")?));
        match self.payload {
            Some(json) => Ok(body.with_payload(Media::JSON, check_document(&json, "payload")?)),
            None => Ok(body),
        }
    }
}

/// The type of an event's body: an application's own, a call of a tool, a
/// statement of evidence.
#[must_use]
pub fn event_type(body: &Body) -> Option<&str> {
    matches!(body.schema, schema::EVENT | schema::TOOL_CALL | schema::EVIDENCE).then(|| body.text(TYPE)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resumed_tree_goes_on_as_if_never_stopped() {
        let hashes: Vec<Hash> = (0..700u32).map(|i| hash::leaf(&i.to_be_bytes())).collect();
        let mut whole = Tree::default();
        let tiles: Vec<_> = hashes.iter().filter_map(|h| whole.push(*h)).collect();
        assert_eq!(tiles.iter().map(|(n, _)| *n).collect::<Vec<_>>(), [0, 1]);
        assert_eq!(tiles[1].1, hashes[256..512].concat());
        for cut in [0usize, 1, 255, 256, 257, 511, 512, 600] {
            let mut first = Tree::default();
            hashes[..cut].iter().for_each(|h| drop(first.push(*h)));
            let tail = hashes[cut / 256 * 256..cut].to_vec();
            let mut second = Tree::resume(first.frontier().clone(), tail).unwrap();
            hashes[cut..].iter().for_each(|h| drop(second.push(*h)));
            assert_eq!(second.frontier(), whole.frontier());
        }
        let mut wrong = hashes[512..700].to_vec();
        wrong[3] = [0; 32];
        assert_eq!(Tree::resume(whole.frontier().clone(), wrong).unwrap_err().code(), Code::Altered);
    }
}
