//! Files into records, each with a verdict, so that everything in a file is accounted for exactly once.
//!
//! Owns: the two profiles, the reading of each kind of file, seals, lineage, salvage after damage. Never: decides
//! where a record goes, changes a text that could be kept, or returns a private key.
//!
//! `Strict` refuses whatever upstream's schemas and loaders refuse, what cannot be verified, and what could only be
//! taken over altered. `Compat` keeps what upstream's code and tests accept, repairs the rest where the meaning is
//! beyond doubt, and names every repair. Neither drops the complete records of a damaged file.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::checksum::{self, DOCUMENT_CHECKSUM_LINE, Uncomputable};
use crate::detect::{self, Collection, Format, Kind, Loaded};
use crate::json;
use crate::schema::{self, Schema};
use crate::time::{self, Stamp};
use crate::value::{Code, Document, Duplicate, Object, ParseError, Reason, Repair, Text, Value, is_private_key_name};

/// How much of what upstream's files hold is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// What upstream's code and tests accept.
    Compat,
    /// What upstream's schemas say.
    Strict,
}

/// What a record is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Entity {
    /// A record of `identities`.
    Identity,
    /// A record of `sessions`.
    Session,
    /// A record of `memories`.
    Memory,
    /// A record of `agent_dna`.
    AgentDna,
    /// A record of `reflections`.
    Reflection,
    /// A record of `vault_entries`, or a vault entry in a file of its own.
    VaultEntry,
    /// A record of `glyphtrail_entries`, or such an entry in a file of its own.
    GlyphtrailEntry,
    /// A record of `agent_links`, or an agent link in a file of its own.
    AgentLink,
    /// A record of another collection, with its name.
    Other(String),
    /// The fields of a timeline file beside its events.
    Timeline,
    /// An event of a timeline.
    Event,
    /// A state snapshot.
    Snapshot,
    /// A master citation.
    Citation,
    /// A vault config.
    VaultConfig,
    /// A config of `mirrordna.config`.
    Config,
    /// The checksum file of a config.
    ConfigSidecar,
    /// A Standard document: fields `front_matter` and `text`.
    StandardDocument,
    /// A Standard sidecar.
    StandardSidecar,
    /// The content of a file that is not upstream's.
    Unknown,
}

/// What became of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Taken as it is.
    Kept,
    /// Taken, with changes or reservations.
    Repaired(Vec<Repair>),
    /// Not taken.
    Refused(Reason),
}

/// A record of a foreign file.
#[derive(Debug, Clone, PartialEq)]
pub struct ForeignRecord {
    /// What it is.
    pub entity: Entity,
    /// Its id: the key in a collection, else the id field.
    pub id: Option<String>,
    /// Its content, expressible in strict JSON and without private keys; also of a refused record, where it was read.
    pub fields: Value,
    /// Its time fields as JSON Pointer and time; the text stays in `fields`. Unreadable ones are left out.
    pub times: Vec<(String, Stamp)>,
    /// What became of it.
    pub verdict: Verdict,
}

/// Everything in a file.
#[derive(Debug, Clone, PartialEq)]
pub struct FileReport {
    /// What the file is.
    pub kind: Kind,
    /// Its records in file order; damage, if any, is the last one, refused.
    pub records: Vec<ForeignRecord>,
    /// What concerns the file and not one record.
    pub notes: Vec<Repair>,
}

impl FileReport {
    /// How many records were kept, repaired and refused.
    pub fn counts(&self) -> (usize, usize, usize) {
        self.records.iter().fold((0, 0, 0), |(kept, repaired, refused), record| match record.verdict {
            Verdict::Kept => (kept + 1, repaired, refused),
            Verdict::Repaired(_) => (kept, repaired + 1, refused),
            Verdict::Refused(_) => (kept, repaired, refused + 1),
        })
    }
}

impl ForeignRecord {
    /// The codes of its repairs or of its refusal.
    pub fn codes(&self) -> Vec<Code> {
        match &self.verdict {
            Verdict::Kept => Vec::new(),
            Verdict::Repaired(repairs) => repairs.iter().map(|repair| repair.code).collect(),
            Verdict::Refused(reason) => vec![reason.code],
        }
    }
}

/// Reads a file of any kind. The name tells the format and helps to tell the kind.
pub fn read_file(name: &str, bytes: &[u8], profile: Profile) -> FileReport {
    let Loaded { kind, format, document, error, complete } = detect::load(name, bytes);
    let Document { value, byte_order_mark, duplicates } = document;
    let mut reader = Reader::new(profile, duplicates);
    if byte_order_mark {
        let sentence = "The file starts with a byte order mark, which upstream refuses in JSON.";
        reader.notes.push(Repair::new(Code::ByteOrderMark, "", sentence));
    }
    reader.salvaged = error.is_some();
    // Only containers of many records have complete parts before the damage.
    let whole = error.is_none() || complete;
    let mut rest = Value::Null;
    match &kind {
        Kind::PrivateKeys => {
            reader.refuse(
                Entity::Unknown,
                Value::Null,
                Reason::new(Code::PrivateKeyMaterial, "", "The file holds private keys; it is never imported."),
            );
        }
        Kind::Unknown if error.is_none() => {
            reader.refuse(
                Entity::Unknown,
                Value::Null,
                Reason::new(Code::UnknownFile, "", "The file is none of those that upstream writes; a chat is named .jsonl or .ndjson."),
            );
        }
        Kind::Unknown => {}
        Kind::Collection(collection) => reader.collection(collection, value, whole),
        Kind::Timeline => reader.timeline(value, whole),
        Kind::StandardMarkdown => reader.standard_document(bytes),
        _ if !whole => rest = value,
        Kind::Snapshot => reader.single(Entity::Snapshot, "snapshot_id", value),
        Kind::MasterCitation => reader.single(Entity::Citation, "id", value),
        Kind::VaultEntry => reader.single(Entity::VaultEntry, "id", value),
        Kind::GlyphtrailEntry => reader.single(Entity::GlyphtrailEntry, "id", value),
        Kind::AgentLink => reader.single(Entity::AgentLink, "id", value),
        Kind::VaultConfig => reader.single(Entity::VaultConfig, "vault_id", value),
        Kind::ConfigSidecar => reader.single(Entity::ConfigSidecar, "", value),
        Kind::StandardSidecar => reader.single(Entity::StandardSidecar, "vault_id", value),
        Kind::ChecksummedConfig => reader.single(Entity::Config, "", value),
    }
    if let Some(error) = error {
        reader.damage(&kind, error, bytes.len(), rest);
    }
    reader.report(kind, byte_order_mark && format == Format::Json)
}

/// Reads a config together with the `.checksum.json` that lies beside it.
pub fn read_config(name: &str, bytes: &[u8], sidecar: &[u8], profile: Profile) -> FileReport {
    let Loaded { kind, document, error, .. } = detect::load(name, bytes);
    if kind == Kind::PrivateKeys || error.is_some() {
        return read_file(name, bytes, profile);
    }
    let mut reader = Reader::new(profile, document.duplicates);
    let text = |value: &Value, key| value.get(key).and_then(Value::as_str).map(str::to_owned);
    let sidecar = json::parse(sidecar).ok().map(|sidecar| sidecar.value);
    let stated = sidecar.as_ref().and_then(|s| Some((text(s, "algorithm")?, text(s, "hash")?)));
    let seal = match stated.as_ref().map(|(algorithm, hash)| (checksum::config_checksum(&document.value, algorithm), hash)) {
        Some((Ok(Some(actual)), expected)) if actual == *expected => Seal::Fits,
        Some((Ok(Some(actual)), expected)) => Seal::Broken(mismatch(expected, &actual)),
        Some((Ok(None), _)) => Seal::Open("The checksum's algorithm is not computed here."),
        Some((Err(error), _)) => Seal::Broken(uncomputable(error)),
        None => Seal::Open("The checksum file has no algorithm and hash."),
    };
    let stem = name.rsplit(['/', '\\']).next().unwrap_or(name);
    let mut draft = Draft::new(Entity::Config, Some(stem.strip_suffix(".json").unwrap_or(stem).to_owned()), document.value);
    draft.repairs.extend(reader.duplicates_of(""));
    draft.seal = Some(seal);
    reader.drafts.push(draft);
    reader.report(Kind::ChecksummedConfig, document.byte_order_mark)
}

/// A record on its way to a verdict.
struct Draft {
    entity: Entity,
    id: Option<String>,
    fields: Value,
    repairs: Vec<Repair>,
    refusal: Option<Reason>,
    /// Set where the seal is not found inside the fields.
    seal: Option<Seal>,
}

/// What a stored checksum says.
enum Seal {
    Fits,
    /// Nothing to verify, and why.
    Open(&'static str),
    Broken(Reason),
}

impl Draft {
    fn new(entity: Entity, id: Option<String>, fields: Value) -> Draft {
        Draft { entity, id, fields, repairs: Vec::new(), refusal: None, seal: None }
    }
    fn note(&mut self, code: Code, path: &str, sentence: impl Into<String>) {
        self.repairs.push(Repair::new(code, path, sentence));
    }
}

struct Reader {
    profile: Profile,
    drafts: Vec<Draft>,
    notes: Vec<Repair>,
    salvaged: bool,
    /// Duplicate members by the pointer of the record they stand in.
    duplicates: BTreeMap<String, Vec<Duplicate>>,
    ungrouped: Vec<Duplicate>,
}

impl Reader {
    fn new(profile: Profile, duplicates: Vec<Duplicate>) -> Reader {
        Reader { profile, drafts: Vec::new(), notes: Vec::new(), salvaged: false, duplicates: BTreeMap::new(), ungrouped: duplicates }
    }

    /// Sorts the duplicates to the records they belong to, which lie `depth` steps deep in the file.
    fn group_duplicates(&mut self, depth: impl Fn(&str) -> usize) {
        for duplicate in std::mem::take(&mut self.ungrouped) {
            let depth = depth(&duplicate.path);
            let cut = duplicate.path.match_indices('/').nth(depth).map_or(duplicate.path.len(), |(at, _)| at);
            self.duplicates.entry(duplicate.path[..cut].to_owned()).or_default().push(duplicate);
        }
    }

    /// The repairs for duplicates inside the record at this pointer.
    fn duplicates_of(&mut self, record: &str) -> Vec<Repair> {
        if record.is_empty() {
            self.group_duplicates(|_| 0);
        }
        let inside = self.duplicates.remove(record).unwrap_or_default();
        inside.into_iter().map(|duplicate| duplicate_repair(duplicate, record)).collect()
    }

    fn refuse(&mut self, entity: Entity, fields: Value, reason: Reason) {
        self.drafts.push(Draft { refusal: Some(reason), ..Draft::new(entity, None, fields) });
    }

    fn superseded(&mut self, entity: Entity, id: Option<String>, fields: Value) {
        let reason = Reason::new(Code::SupersededByDuplicateKey, "", "A later member with the same key replaced this record.");
        self.drafts.push(Draft { refusal: Some(reason), ..Draft::new(entity, id, fields) });
    }

    fn single(&mut self, entity: Entity, id_field: &str, value: Value) {
        let id = value.get(id_field).and_then(Value::as_str).map(str::to_owned);
        let mut draft = Draft::new(entity, id, value);
        draft.repairs = self.duplicates_of("");
        self.push(draft);
    }

    fn push(&mut self, mut draft: Draft) {
        if self.salvaged {
            draft.note(Code::SalvagedFromTruncatedFile, "", "The file is damaged; this record is complete and stands before the damage.");
        }
        self.drafts.push(draft);
    }

    fn collection(&mut self, collection: &Collection, value: Value, whole: bool) {
        let entity = entity_of(collection);
        let Value::Object(object) = value else {
            if whole {
                let sentence = format!("A collection is an object of records; this file holds {}.", value.type_name());
                self.refuse(entity, value, Reason::new(Code::NotAnObject, "", sentence));
            }
            return;
        };
        self.group_duplicates(|_| 1);
        for (key, fields) in object.into_members() {
            let pointer = format!("/{}", crate::value::escape_step(&key.text));
            let id = key.text.to_str_lossy().into_owned();
            let (lost, inside): (Vec<_>, Vec<_>) =
                self.duplicates.remove(&pointer).unwrap_or_default().into_iter().partition(|d| d.path == pointer);
            for duplicate in lost {
                self.superseded(entity.clone(), Some(id.clone()), duplicate.dropped);
            }
            let mut draft = Draft::new(entity.clone(), Some(id), fields);
            draft.repairs.extend(inside.into_iter().map(|duplicate| duplicate_repair(duplicate, &pointer)));
            if draft.fields.as_object().is_some() {
                let stated = draft.fields.get(collection.id_field()).or_else(|| match collection {
                    Collection::Reflections => draft.fields.get("id"),
                    _ => None,
                });
                match stated {
                    // Its schema knows no id.
                    None if entity == Entity::AgentLink => {}
                    None => draft.note(Code::IdTakenFromKey, "", "The record has no id; its key in the file is used."),
                    Some(Value::Text(stated)) if *stated == key.text => {}
                    Some(_) => draft.note(
                        Code::IdDiffersFromKey,
                        &format!("/{}", collection.id_field()),
                        "The id differs from the record's key in the file, which is used.",
                    ),
                }
            }
            self.push(draft);
        }
        if entity == Entity::Session {
            mark_lineage(&mut self.drafts);
        }
    }

    fn timeline(&mut self, value: Value, whole: bool) {
        let events = match value {
            Value::Array(events) => {
                self.notes.push(Repair::new(
                    Code::TimelineListForm,
                    "",
                    "The timeline is a bare list; it has no id and no count to check.",
                ));
                self.group_duplicates(|_| 1);
                events
            }
            Value::Object(mut header) => {
                self.group_duplicates(|path| if path.starts_with("/events/") { 2 } else { 1 });
                let events = header.remove("events");
                let id = header.get("timeline_id").and_then(Value::as_str).map(str::to_owned);
                let mut draft = Draft::new(Entity::Timeline, id, Value::Null);
                for duplicate in self.duplicates.remove("/events").unwrap_or_default() {
                    match duplicate.dropped {
                        Value::Array(lost) => lost.into_iter().for_each(|event| {
                            self.superseded(Entity::Event, text_of(&event, "id"), event);
                        }),
                        lost => self.superseded(Entity::Event, None, lost),
                    }
                }
                let of_header: Vec<String> = self.duplicates.keys().filter(|key| !key.starts_with("/events/")).cloned().collect();
                for key in of_header {
                    let inside = self.duplicates.remove(&key).unwrap_or_default();
                    draft.repairs.extend(inside.into_iter().map(|duplicate| duplicate_repair(duplicate, "")));
                }
                let events = match events {
                    None => Vec::new(),
                    Some(Value::Array(events)) => events,
                    Some(other) => {
                        let sentence = format!("events is {} and not a list.", other.type_name());
                        draft.refusal = Some(Reason::new(Code::WrongType, "/events", sentence));
                        Vec::new()
                    }
                };
                let counted = header.get("event_count").is_none_or(|count| *count == Value::Int(events.len().to_string()));
                if !counted && whole {
                    let sentence = format!("event_count is not {}, the number of events.", events.len());
                    draft.note(Code::EventCountWrong, "/event_count", sentence);
                }
                draft.fields = Value::Object(header);
                self.push(draft);
                events
            }
            other => {
                if whole {
                    let sentence = format!("A timeline is an object or a list; this file holds {}.", other.type_name());
                    self.refuse(Entity::Timeline, other, Reason::new(Code::NotAnObject, "", sentence));
                }
                return;
            }
        };
        let prefix = if self.notes.iter().any(|note| note.code == Code::TimelineListForm) { "" } else { "/events" };
        let numbers: HashSet<u64> = events.iter().filter_map(event_number).collect();
        let mut seen = HashSet::new();
        let mut latest = None;
        for (index, event) in events.into_iter().enumerate() {
            let pointer = format!("{prefix}/{index}");
            let id = text_of(&event, "id");
            let follows_a_gap = event_number(&event).is_some_and(|number| number > 1 && !numbers.contains(&(number - 1)));
            let at = event.get("timestamp").and_then(Value::as_str).and_then(time::parse).map(|stamp| (stamp.millis, stamp.nanos));
            let mut draft = Draft::new(Entity::Event, id.clone(), event);
            draft.repairs =
                self.duplicates.remove(&pointer).unwrap_or_default().into_iter().map(|d| duplicate_repair(d, &pointer)).collect();
            if id.is_some_and(|id| !seen.insert(id)) {
                draft.note(Code::DuplicateId, "/id", "An earlier event has the same id.");
            }
            if follows_a_gap {
                draft.note(Code::EventGap, "/id", "The event numbered one lower is not in the file; it may have been removed.");
            }
            if at.is_some() && at < latest {
                draft.note(Code::OutOfOrder, "/timestamp", "The event is earlier than one that stands before it.");
            }
            latest = latest.max(at);
            self.push(draft);
        }
    }

    fn standard_document(&mut self, bytes: &[u8]) {
        let mut draft = Draft::new(Entity::StandardDocument, None, Value::Null);
        match front_matter(bytes) {
            Err(reason) => draft.refusal = Some(reason),
            Ok((front_matter, text)) => {
                const REQUIRED: [&str; 9] =
                    ["title", "vault_id", "glyphsig", "author", "date", "status", "predecessor", "successor", "checksum_sha256"];
                draft.id = front_matter.get("vault_id").and_then(Value::as_str).map(str::to_owned);
                for key in REQUIRED.iter().filter(|key| front_matter.get(key).is_none()) {
                    draft.note(Code::MissingField, &format!("/front_matter/{key}"), format!("The front matter has no {key}."));
                }
                let stated = front_matter.get("checksum_sha256").and_then(Value::as_str);
                if stated.is_some_and(|hex| hex.len() != 64 || !hex.bytes().all(|b| b.is_ascii_hexdigit())) {
                    draft.note(Code::PatternMismatch, "/front_matter/checksum_sha256", "A checksum is 64 hex digits.");
                }
                draft.fields = Value::Object(Object::from_iter([
                    (Text::from("front_matter"), Value::Object(front_matter)),
                    (Text::from("text"), Value::Text(Text::from(text))),
                ]));
                draft.seal = Some(document_seal(bytes));
            }
        }
        self.drafts.push(draft);
    }

    /// The last record of a damaged file: what could not be read, with the complete members of a broken single record.
    fn damage(&mut self, kind: &Kind, error: ParseError, length: usize, rest: Value) {
        let (entity, id) = match kind {
            Kind::Collection(collection) => {
                let open = error.path.split('/').nth(1).map(|step| step.replace("~1", "/").replace("~0", "~"));
                (entity_of(collection), open)
            }
            Kind::Timeline => (Entity::Event, None),
            Kind::Snapshot => (Entity::Snapshot, None),
            Kind::MasterCitation => (Entity::Citation, None),
            Kind::VaultEntry => (Entity::VaultEntry, None),
            Kind::GlyphtrailEntry => (Entity::GlyphtrailEntry, None),
            Kind::AgentLink => (Entity::AgentLink, None),
            Kind::VaultConfig => (Entity::VaultConfig, None),
            Kind::ConfigSidecar => (Entity::ConfigSidecar, None),
            Kind::StandardSidecar => (Entity::StandardSidecar, None),
            _ => (Entity::Unknown, None),
        };
        let sentence =
            format!("{} The file has {length} bytes; what starts at or is open at byte {} is lost.", error.sentence, error.offset);
        let reason = Reason { code: error.code, path: error.path, sentence, offset: Some(error.offset) };
        self.drafts.push(Draft { refusal: Some(reason), ..Draft::new(entity, id, rest) });
    }

    fn report(mut self, kind: Kind, json_byte_order_mark: bool) -> FileReport {
        self.group_duplicates(|_| 0);
        for duplicate in std::mem::take(&mut self.duplicates).into_values().flatten() {
            self.notes.push(duplicate_repair(duplicate, ""));
        }
        let profile = self.profile;
        let records = self.drafts.into_iter().map(|mut draft| {
            if json_byte_order_mark && profile == Profile::Strict {
                let reason = Reason::new(Code::ByteOrderMark, "", "Upstream refuses a JSON file with a byte order mark.");
                draft.refusal.get_or_insert(reason);
            }
            judge(draft, profile)
        });
        FileReport { kind, records: records.collect(), notes: self.notes }
    }
}

fn judge(mut draft: Draft, profile: Profile) -> ForeignRecord {
    let strict = profile == Profile::Strict;
    let mut path = String::new();
    let mut repairs = draft.repairs;
    let mut refusal = draft.refusal;
    let schema = schema_of(&draft.entity);
    let as_written = schema.filter(|_| strict && refusal.is_none()).map(|schema| schema::check(schema, &draft.fields, false));
    draft.fields.replace_natives(&mut path, &mut repairs);
    if refusal.is_none() {
        let seal = draft.seal.unwrap_or_else(|| seal_of(&draft.entity, &draft.fields));
        let violations = as_written.or_else(|| schema.map(|schema| schema::check(schema, &draft.fields, true))).unwrap_or_default();
        let broken = match seal {
            Seal::Fits => None,
            Seal::Broken(reason) if draft.entity == Entity::Event => {
                repairs.push(Repair::new(Code::EventChecksumDiffers, reason.path, reason.sentence));
                None
            }
            Seal::Broken(reason) => Some(reason),
            Seal::Open(why) => {
                repairs.push(Repair::new(Code::ChecksumUnverified, "/checksum", why));
                None
            }
        };
        // Upstream's tests want the checksum compared first; its schemas are checked first where they are checked.
        let mut reasons = Vec::new();
        for violation in violations {
            if strict || is_essential(&draft.entity, &violation.path, &draft.fields) {
                reasons.push(Reason::new(violation.code, violation.path, violation.sentence));
            } else {
                repairs.push(Repair::new(violation.code, violation.path, violation.sentence));
            }
        }
        reasons.extend(required_beside_schema(&draft.entity, &draft.fields));
        refusal = if strict { reasons.into_iter().next().or(broken) } else { broken.or(reasons.into_iter().next()) };
    }
    draft.fields.remove_private_keys(&mut path, &mut repairs);
    draft.fields.make_representable(&mut path, &mut repairs);
    let times = if draft.entity == Entity::Unknown { Vec::new() } else { times_of(&draft.entity, &draft.fields, &mut repairs) };
    if refusal.is_none() && strict {
        let altered = repairs.iter().find(|repair| !passes_strict(repair.code));
        refusal = altered.map(|repair| Reason::new(repair.code, repair.path.clone(), repair.sentence.clone()));
    }
    let verdict = match refusal {
        Some(reason) => Verdict::Refused(reason),
        None if repairs.is_empty() => Verdict::Kept,
        None => Verdict::Repaired(repairs),
    };
    ForeignRecord { entity: draft.entity, id: draft.id, fields: draft.fields, times, verdict }
}

/// Notes that leave a record valid in upstream's own eyes and its content unaltered.
fn passes_strict(code: Code) -> bool {
    matches!(
        code,
        Code::DuplicateKey
            | Code::SalvagedFromTruncatedFile
            | Code::UnknownParent
            | Code::OutOfOrder
            | Code::EventGap
            | Code::EventChecksumDiffers
            | Code::TimestampWithoutZone
            | Code::TimestampOddForm
            | Code::TimestampUnreadable
    )
}

fn entity_of(collection: &Collection) -> Entity {
    match collection {
        Collection::Identities => Entity::Identity,
        Collection::Sessions => Entity::Session,
        Collection::Memories => Entity::Memory,
        Collection::AgentDna => Entity::AgentDna,
        Collection::Reflections => Entity::Reflection,
        Collection::VaultEntries => Entity::VaultEntry,
        Collection::GlyphtrailEntries => Entity::GlyphtrailEntry,
        Collection::AgentLinks => Entity::AgentLink,
        Collection::Other(name) => Entity::Other(name.clone()),
    }
}

fn schema_of(entity: &Entity) -> Option<Schema> {
    Some(match entity {
        Entity::Identity => Schema::Identity,
        Entity::Session => Schema::Continuity,
        Entity::Memory => Schema::Memory,
        Entity::AgentDna => Schema::Agent,
        Entity::Reflection => Schema::Reflection,
        Entity::Event => Schema::TimelineEvent,
        Entity::Snapshot => Schema::Snapshot,
        Entity::Citation => Schema::MasterCitation,
        Entity::VaultConfig => Schema::VaultConfig,
        Entity::VaultEntry => Schema::VaultEntry,
        Entity::GlyphtrailEntry => Schema::GlyphtrailEntry,
        Entity::AgentLink => Schema::AgentLink,
        _ => return None,
    })
}

/// Whether upstream's loader cannot do without what is missing or wrong here.
fn is_essential(entity: &Entity, path: &str, fields: &Value) -> bool {
    if path.is_empty() {
        return true;
    }
    let missing = |names: &[&str]| names.iter().any(|name| path.strip_prefix('/') == Some(name) && fields.get(name).is_none());
    match entity {
        Entity::Event => missing(&["id", "timestamp", "event_type", "actor"]),
        Entity::Snapshot => missing(&["snapshot_id", "timestamp", "version", "checksum", "identity_state", "continuity_state"]),
        Entity::Citation => missing(&["id", "version", "vault_id", "created_at", "checksum"]),
        // The form that upstream's tests load has `storage` instead of a name and a path.
        Entity::VaultConfig if fields.get("storage").is_some() => missing(&["vault_id", "created_at"]),
        Entity::VaultConfig => missing(&["vault_id", "name", "path", "created_at"]),
        _ => false,
    }
}

/// What the entities without a schema table need in either profile.
fn required_beside_schema(entity: &Entity, fields: &Value) -> Option<Reason> {
    let needed: &[&str] = match entity {
        Entity::StandardSidecar => &["vault_id", "glyphsig", "version", "checksum_sha256"],
        Entity::ConfigSidecar => &["algorithm", "hash"],
        Entity::Other(_) | Entity::Config => &[],
        _ => return None,
    };
    if fields.as_object().is_none() {
        return Some(Reason::new(Code::NotAnObject, "", format!("Expected an object, found {}.", fields.type_name())));
    }
    let missing = needed.iter().find(|name| fields.get(name).is_none())?;
    Some(Reason::new(Code::MissingField, format!("/{missing}"), format!("The field {missing} is absent.")))
}

fn seal_of(entity: &Entity, fields: &Value) -> Seal {
    let (stated, actual) = match entity {
        Entity::Snapshot => match fields.get("checksum") {
            Some(blank) if is_falsy(blank) => {
                return Seal::Open("The checksum is blank, so upstream skips the check; nothing shows that the snapshot is unaltered.");
            }
            stated => (stated, checksum::state_checksum(fields)),
        },
        Entity::Citation => (fields.get("checksum"), checksum::state_checksum(fields)),
        Entity::Event => match (fields.get("checksum"), fields.get("payload")) {
            (Some(stated @ Value::Text(_)), Some(payload)) => {
                (Some(stated), checksum::canonical(payload, checksum::Form::State).map(|text| checksum::sha256_hex(text.as_bytes())))
            }
            _ => return Seal::Fits,
        },
        Entity::StandardSidecar => match fields.as_object() {
            Some(sidecar) => (sidecar.get("checksum_sha256"), checksum::sidecar_checksum(sidecar)),
            None => return Seal::Fits,
        },
        _ => return Seal::Fits,
    };
    // An absent checksum is a missing field and reported as one.
    let Some(stated) = stated else { return Seal::Fits };
    match actual {
        Err(error) => Seal::Broken(uncomputable(error)),
        Ok(actual) if stated.as_str() == Some(&actual) => Seal::Fits,
        Ok(actual) => Seal::Broken(mismatch(&json::write(stated).0, &actual)),
    }
}

fn mismatch(expected: &str, actual: &str) -> Reason {
    Reason::new(Code::ChecksumMismatch, "/checksum", format!("Checksum mismatch: the file says {expected}, its content gives {actual}."))
}

fn uncomputable(error: Uncomputable) -> Reason {
    Reason::new(Code::ChecksumUncomputable, "/checksum", format!("The checksum cannot be verified: {error}."))
}

/// Python's notion of false.
fn is_falsy(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Int(digits) => digits == "0",
        Value::Float(float) => float.value == 0.0,
        Value::Text(text) => text.as_wtf8().is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(object) => object.is_empty(),
        _ => false,
    }
}

fn times_of(entity: &Entity, fields: &Value, repairs: &mut Vec<Repair>) -> Vec<(String, Stamp)> {
    let paths: &[&[&str]] = match entity {
        Entity::Identity | Entity::VaultConfig | Entity::ConfigSidecar => &[&["created_at"]],
        Entity::Session => &[&["started_at"], &["ended_at"]],
        Entity::Memory => &[&["source", "timestamp"], &["metadata", "last_accessed"], &["metadata", "archived_at"]],
        Entity::Event | Entity::Snapshot | Entity::Reflection | Entity::GlyphtrailEntry => &[&["timestamp"]],
        Entity::AgentLink => &[&["created_at"], &["constitutional_alignment", "verified_at"]],
        Entity::Citation | Entity::VaultEntry => &[&["created_at"], &["updated_at"]],
        Entity::StandardDocument => &[&["front_matter", "date"]],
        _ => &[],
    };
    let mut times = Vec::new();
    for steps in paths {
        let Some(Value::Text(text)) = steps.iter().try_fold(fields, |value, step| value.get(step)) else { continue };
        let path = format!("/{}", steps.join("/"));
        let stamp = text.as_str().and_then(time::parse);
        let finding = match stamp {
            None => Some((Code::TimestampUnreadable, "The text is not a time; it is kept as it is.")),
            // The Standard dates its documents by day.
            Some(_) if *entity == Entity::StandardDocument => None,
            Some(stamp) if !stamp.zone => Some((Code::TimestampWithoutZone, "The time names no zone; it is read as UTC.")),
            Some(stamp) if !stamp.usual => Some((Code::TimestampOddForm, "Neither SDK writes times in this form.")),
            Some(_) => None,
        };
        if let Some((code, sentence)) = finding {
            repairs.push(Repair { original: Some(text.to_str_lossy().into_owned()), ..Repair::new(code, &*path, sentence) });
        }
        times.extend(stamp.map(|stamp| (path, stamp)));
    }
    times
}

/// Notes parents that are absent and sessions that are their own ancestors.
fn mark_lineage(drafts: &mut [Draft]) {
    let known: HashMap<String, usize> = drafts
        .iter()
        .enumerate()
        .filter(|(_, draft)| draft.refusal.is_none())
        .filter_map(|(at, draft)| Some((draft.id.clone()?, at)))
        .collect();
    let mut parents: Vec<Option<usize>> = vec![None; drafts.len()];
    for (at, draft) in drafts.iter_mut().enumerate().filter(|(_, draft)| draft.refusal.is_none()) {
        let Some(Value::Text(parent)) = draft.fields.get("parent_session_id") else { continue };
        let parent = parent.to_str_lossy().into_owned();
        parents[at] = known.get(&parent).copied();
        if parents[at].is_none() {
            let sentence = "The parent session is not in this file; its id is kept as text.";
            let repair = Repair::new(Code::UnknownParent, "/parent_session_id", sentence);
            draft.repairs.push(Repair { original: Some(parent), ..repair });
        }
    }
    // Each walk marks its steps with its own number: meeting that number again closes a cycle.
    let mut walks = vec![usize::MAX; drafts.len()];
    for start in 0..drafts.len() {
        let mut at = start;
        while walks[at] == usize::MAX {
            walks[at] = start;
            match parents[at] {
                Some(parent) => at = parent,
                None => break,
            }
        }
        if walks[at] != start || parents[at].is_none() {
            continue;
        }
        let first = at;
        loop {
            drafts[at].note(Code::LineageCycle, "/parent_session_id", "The session is its own ancestor; the parent is kept as text only.");
            match parents[at] {
                Some(parent) if parent != first => at = parent,
                _ => break,
            }
        }
    }
}

/// The counter at the end of an id that Python's timeline made: `evt_`, 14 digits, `_`, the counter.
fn event_number(event: &Value) -> Option<u64> {
    let (stamp, number) = event.get("id")?.as_str()?.strip_prefix("evt_")?.split_once('_')?;
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    (stamp.len() == 14 && digits(stamp) && number.len() >= 4 && digits(number)).then(|| number.parse().ok()).flatten()
}

fn text_of(value: &Value, key: &str) -> Option<String> {
    value.get(key).and_then(Value::as_str).map(str::to_owned)
}

fn duplicate_repair(duplicate: Duplicate, record: &str) -> Repair {
    let Duplicate { path, offset, mut dropped } = duplicate;
    let name = path.rsplit('/').next().unwrap_or_default();
    let secret = is_private_key_name(&Text::from(name));
    dropped.remove_private_keys(&mut String::new(), &mut Vec::new());
    let relative = path.strip_prefix(record).unwrap_or(&path).to_owned();
    let sentence = format!("The key occurs again at byte {offset}; the last one counts.");
    let original = (!secret).then(|| json::write(&dropped).0);
    Repair { original, ..Repair::new(Code::DuplicateKey, relative, sentence) }
}

/// The front matter of a Standard document as its own tools read it, line by line, and the whole text.
fn front_matter(bytes: &[u8]) -> Result<(Object, &str), Reason> {
    let text = std::str::from_utf8(bytes)
        .map_err(|error| Reason { offset: Some(error.valid_up_to()), ..Reason::new(Code::NotUtf8, "", "The document is not UTF-8.") })?;
    let mut lines = text.lines();
    if lines.next().map(str::trim_end) != Some("---") {
        return Err(Reason::new(Code::UnparsableFile, "", "The first line is not the --- that opens the front matter."));
    }
    let mut members = Vec::new();
    for line in lines {
        if line.trim_end() == "---" {
            return Ok((members.into_iter().collect(), text));
        }
        if let Some((key, value)) = line.split_once(':') {
            members.push((Text::from(key.trim()), Value::Text(Text::from(unquote(value)))));
        }
    }
    Err(Reason { offset: Some(bytes.len()), ..Reason::new(Code::TruncatedFile, "", "The front matter is never closed.") })
}

fn unquote(value: &str) -> &str {
    let value = value.trim();
    let inner = |quote| value.strip_prefix(quote).and_then(|v: &str| v.strip_suffix(quote));
    inner('"').or_else(|| inner('\'')).unwrap_or(value)
}

fn document_seal(bytes: &[u8]) -> Seal {
    let mut stated = bytes.split(|&b| b == b'\n').filter_map(|line| line.strip_prefix(DOCUMENT_CHECKSUM_LINE));
    let Some(first) = stated.next() else {
        return Seal::Open("The document has no line that starts with checksum_sha256:.");
    };
    if stated.next().is_some() {
        let sentence = "The document has several lines that start with checksum_sha256:, which upstream reads as a mismatch.";
        return Seal::Broken(Reason::new(Code::ChecksumMismatch, "/front_matter/checksum_sha256", sentence));
    }
    let stated = String::from_utf8_lossy(first);
    let actual = checksum::document_checksum(bytes);
    if unquote(&stated) == actual { Seal::Fits } else { Seal::Broken(mismatch(unquote(&stated), &actual)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdicts(name: &str, text: &str, profile: Profile) -> Vec<(Option<String>, Vec<&'static str>)> {
        let report = read_file(name, text.as_bytes(), profile);
        report.records.iter().map(|r| (r.id.clone(), r.codes().into_iter().map(Code::as_str).collect())).collect()
    }

    fn id(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    const SESSION: &str = r#""agent_id":"mdna_agt_a","user_id":"mdna_usr_b","started_at":"2026-01-01T00:00:00Z""#;

    #[test]
    fn every_record_of_a_duplicate_key_is_accounted_for() {
        let text = format!(r#"{{"sess_1":{{"session_id":"sess_1",{SESSION}}},"sess_1":{{"session_id":"sess_1","x":1,"x":2,{SESSION}}}}}"#);
        assert_eq!(
            verdicts("sessions.json", &text, Profile::Compat),
            [(id("sess_1"), vec!["superseded_by_duplicate_key"]), (id("sess_1"), vec!["duplicate_key"]),]
        );
        let events = r#"{"events":[{"id":"evt_1"}],"timeline_id":"t","events":[]}"#;
        assert_eq!(verdicts("x.json", events, Profile::Compat), [(id("evt_1"), vec!["superseded_by_duplicate_key"]), (id("t"), vec![]),]);
    }

    #[test]
    fn private_keys_never_get_through() {
        let text = r#"{"mdna_usr_1":{"identity_id":"mdna_usr_1","_private_key":"c2VjcmV0","_private_key":"c2VjcmV0","#.to_owned()
            + r#""identity_type":"user","created_at":"2026-01-01T00:00:00Z","public_key":"AAAAAAAAAAAAAAAAAAAAAAAA","#
            + r#""metadata":{"custom":{"_privateKey":"c2VjcmV0"}}}}"#;
        for profile in [Profile::Compat, Profile::Strict] {
            let report = read_file("identities.json", text.as_bytes(), profile);
            assert_eq!(report.records.len(), 1);
            assert!(!format!("{report:?}").contains("c2VjcmV0"), "{report:?}");
        }
        assert_eq!(
            verdicts("identities.json", &text, Profile::Compat)[0].1,
            ["duplicate_key", "private_key_removed", "private_key_removed",]
        );
        for (name, text) in [
            ("private_keys.json", "{}"),
            ("a.key", "{\"id\":1}"),
            ("x.json", r#"{"note":"","keys":{"mdna_usr_1":"AAAA"}}"#),
            ("x.json", r#"{"identity_id":"mdna_usr_1","_private_key":"AAAA"}"#),
            ("notes.txt", "-----BEGIN PRIVATE KEY-----"),
        ] {
            let report = read_file(name, text.as_bytes(), Profile::Compat);
            assert_eq!((report.kind, report.records[0].codes()), (Kind::PrivateKeys, vec![Code::PrivateKeyMaterial]), "{name}");
            assert_eq!(report.records[0].fields, Value::Null);
        }
    }

    #[test]
    fn lineage_is_walked_once() {
        let session = |name: &str, parent: &str| format!(r#""{name}":{{"session_id":"{name}","parent_session_id":{parent},{SESSION}}}"#);
        let text = [
            session("sess_a", r#""sess_b""#),
            session("sess_b", r#""sess_c""#),
            session("sess_c", r#""sess_b""#),
            session("sess_d", r#""sess_gone""#),
            session("sess_e", "null"),
            session("sess_f", r#""sess_f""#),
        ];
        let text = format!("{{{}}}", text.join(","));
        let found: Vec<_> = verdicts("sessions.json", &text, Profile::Compat).into_iter().map(|(_, codes)| codes).collect();
        assert_eq!(found, [vec![], vec!["lineage_cycle"], vec!["lineage_cycle"], vec!["unknown_parent"], vec![], vec!["lineage_cycle"]]);
    }

    #[test]
    fn times_are_read_and_their_text_kept() {
        let text = r#"{"mdna_usr_1":{"identity_id":"mdna_usr_1","identity_type":"user","created_at":"2026-01-01 00:00:00",
            "public_key":"AAAAAAAAAAAAAAAAAAAAAAAA"}}"#;
        let report = read_file("identities.json", text.as_bytes(), Profile::Compat);
        let record = &report.records[0];
        assert_eq!(record.codes(), [Code::TimestampWithoutZone]);
        assert_eq!(
            record.times.iter().map(|(path, stamp)| (path.as_str(), stamp.millis)).collect::<Vec<_>>(),
            [("/created_at", 1_767_225_600_000)]
        );
        assert_eq!(text_of(&record.fields, "created_at").as_deref(), Some("2026-01-01 00:00:00"));
    }

    #[test]
    fn damage_is_the_last_record() {
        let text = r#"{"a":{"id":"a"},"b":{"id":"b"},"c":{"id":"#;
        assert_eq!(
            verdicts("things.json", text, Profile::Compat),
            [
                (id("a"), vec!["salvaged_from_truncated_file"]),
                (id("b"), vec!["salvaged_from_truncated_file"]),
                (id("c"), vec!["truncated_file"]),
            ]
        );
        let report = read_file("things.json", text.as_bytes(), Profile::Compat);
        let Verdict::Refused(reason) = &report.records[2].verdict else { panic!("kept") };
        assert_eq!((reason.offset, reason.path.as_str()), (Some(text.len()), "/c/id"));
        let text = r#"{"snapshot_id":"s","timestamp":"2026-01-01T00:00:00Z","version":"1","checksum":"","identity_state":{},"continuity_state":{}} tail"#;
        assert_eq!(
            verdicts("s.json", text, Profile::Compat),
            [(id("s"), vec!["salvaged_from_truncated_file", "checksum_unverified"]), (None, vec!["unparsable_file"]),]
        );
    }

    #[test]
    fn ids_come_from_the_keys() {
        let text = r#"{"x":{"id":"x"},"y":{"id":"z"},"w":{}}"#;
        let codes = |profile| verdicts("things.json", text, profile).into_iter().map(|(_, codes)| codes).collect::<Vec<_>>();
        let expected = [vec![], vec!["id_differs_from_key"], vec!["id_taken_from_key"]];
        assert_eq!((codes(Profile::Compat), codes(Profile::Strict)), (expected.to_vec(), expected.to_vec()));
    }
}
