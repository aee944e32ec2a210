//! An assistant that remembers what was said in an earlier conversation.
#![allow(clippy::print_stdout)]

use mirrordna::{Engine, Error, IdentityType, NewIdentity, Tier};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let url = folder.path().join("assistant.db");
    let engine = Engine::builder(url.to_string_lossy()).keys(mirrordna::Keys::Folder(folder.path().join("keys"))).open()?;

    // An agent has a key of its own; a user is somebody its data speaks of.
    let named = |name: &str| NewIdentity { name: Some(name.to_owned()), ..NewIdentity::default() };
    let travel = engine.identities().create_with(IdentityType::Agent, named("travel desk"))?;
    let ann = engine.identities().create_with(IdentityType::User, named("Ann"))?;

    // Monday: a conversation. Each `send` returns when the memory is on disk.
    let monday = engine.sessions().start(&travel, &ann)?;
    monday.memories().add("Ann gets seasick and prefers trains to ferries").tier(Tier::LongTerm).tag("preference").send()?;
    monday.memories().add("Ann asked for a window seat to Lyon").send()?;
    monday.timeline().append("booking.requested", &serde_json::json!({ "to": "Lyon", "seat": "window" }))?;

    // Thursday: the conversation goes on, in another process for all we know.
    let thursday = engine.sessions().continue_from(&monday)?;
    println!("continues {} session(s)", engine.sessions().lineage(thursday.id())?.len() - 1);
    for hit in travel.memories().search("does she prefer the train or the ferry?").limit(3).run()? {
        println!("{:5.2}  {}", hit.score, hit.record.content);
    }

    // A retry after a lost connection must not say it twice.
    let ticket = || thursday.memories().add("Ticket 4711 was issued").idempotency_key("ticket-4711").send();
    let (first, again) = (ticket()?, ticket()?);
    println!("the same memory: {}", first.id == again.id && again.event.existed);

    // What was said can be corrected; the history keeps both.
    let corrected = mirrordna::MemoryPatch {
        content: Some(mirrordna::Content::Text("Ticket 4712 was issued".into())),
        ..mirrordna::MemoryPatch::default()
    };
    engine.memories().update(&first.id, corrected)?;
    println!("{} steps in the life of a memory", engine.memories().history(&first.id)?.len());

    let report = engine.verify()?;
    println!("{} events, {}", report.events, report.verdict);
    drop((travel, ann, monday, thursday));
    engine.close().map_err(Error::into)
}
