//! Following a timeline while this process and others append to it.

use crate::timeline::{Timeline, TimelineEvent};
use mirrordna_core::Result;
use std::time::{Duration, Instant};

/// How often a waiting follower looks at the log's row. A look is one read of
/// one row; SQLite has no way to be told of another process's commit.
const LOOK: Duration = Duration::from_millis(100);
/// Events per answer: payloads may be large, and all of an answer is in memory.
const PAGE: usize = 1_000;

/// A reader that goes along with the log: every event of its scope once, in
/// order, whoever appends it. [`Timeline::follow`] begins one.
#[derive(Debug, Clone)]
pub struct Follow {
    timeline: Timeline,
    next: u64,
}

impl Timeline {
    /// Follows this scope from a leaf on; `timeline.len()` is the leaf that
    /// comes next.
    ///
    /// ```
    /// # use mirrordna::{Engine, IdentityType};
    /// # use std::time::Duration;
    /// # let engine = Engine::open("memory:")?;
    /// # let agent = engine.identities().create(IdentityType::Agent)?;
    /// let mut follow = agent.timeline().follow(engine.timeline().len()?);
    /// agent.timeline().append("booking.requested", &serde_json::json!({"to": "Lyon"}))?;
    /// let events = follow.wait(Duration::from_secs(5))?;
    /// assert!(events.iter().any(|e| e.event_type.as_deref() == Some("booking.requested")));
    /// # Ok::<(), mirrordna::Error>(())
    /// ```
    #[must_use]
    pub fn follow(&self, from: u64) -> Follow {
        Follow { timeline: self.clone(), next: from }
    }

    /// The first leaf whose header time is not before `ms` (milliseconds since
    /// 1970-01-01 UTC); [`Timeline::len`] where there is none. Header times never go backwards, so this reads O(log n) events.
    ///
    /// # Errors
    /// Where the log cannot be read, or its evidence does not hold.
    pub fn first_at(&self, ms: i64) -> Result<u64> {
        let wanted = u64::try_from(ms).unwrap_or(0);
        self.tenant.view(|view, tx| {
            let (mut low, mut high) = (0, view.size());
            while low < high {
                let middle = low + (high - low) / 2;
                let event = view.event(tx, &self.tenant.log, middle)?;
                match event {
                    Some(event) if event.header.time < wanted => low = middle + 1,
                    _ => high = middle,
                }
            }
            Ok(low)
        })
    }
}

impl Follow {
    /// The leaf from which the next call looks on: what to follow from later,
    /// in another process, without missing or repeating an event.
    #[must_use]
    pub const fn position(&self) -> u64 {
        self.next
    }

    /// The next events, oldest first, at most a thousand: at once where there
    /// are some, else as soon as some arrive. Empty where `patience` ends
    /// before that.
    ///
    /// # Errors
    /// Where the log cannot be read, or its evidence does not hold.
    pub fn wait(&mut self, patience: Duration) -> Result<Vec<TimelineEvent>> {
        let began = Instant::now();
        loop {
            let size = self.stored_size()?;
            if size != self.next {
                let found = self.timeline.list(self.next, PAGE)?;
                let listed = found.last().map_or(0, |e| e.leaf + 1);
                // What the listing saw, it saw whole, unless it was cut: the
                // events of others that lie between need no second look.
                let seen = if found.len() < PAGE { listed.max(size) } else { listed };
                self.next = self.next.max(seen);
                if !found.is_empty() {
                    return Ok(found);
                }
            }
            let left = patience.saturating_sub(began.elapsed());
            if left.is_zero() {
                return Ok(Vec::new());
            }
            std::thread::sleep(LOOK.min(left));
        }
    }

    /// Number of events that the store has now.
    fn stored_size(&self) -> Result<u64> {
        let (log, mut size) = (&self.timeline.tenant.log, 0);
        self.timeline.tenant.inner.store.read(&mut |tx| {
            size = log.base.saturating_add(log.row(tx)?.size);
            Ok(())
        })?;
        Ok(size)
    }
}
