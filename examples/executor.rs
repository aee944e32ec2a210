//! The async twin: the same operations as futures, under any executor. Nothing
//! here starts a runtime; the engine's own two threads do the work.
#![allow(clippy::print_stdout)]

use mirrordna::IdentityType;
use mirrordna::aio::Engine;

fn main() -> Result<(), mirrordna::Error> {
    pollster::block_on(async {
        let engine = Engine::open("memory:").await?;
        let agent = engine.identities().create(IdentityType::Agent).await?;
        let first = agent.memories().add_text("Prefers trains to planes", Some("pref-1")).await?;
        // Dropped before it was done, an append has an unknown outcome; the
        // same key finds out.
        let again = agent.memories().add_text("Prefers trains to planes", Some("pref-1")).await?;
        println!("stored once: {}", first.id == again.id);
        for hit in agent.memories().search("train or plane?", 3).await? {
            println!("{:.2}  {}", hit.score, hit.record.content);
        }
        println!("{}", engine.verify().await?.verdict);
        engine.close().await
    })
}
