//! A few threads that run what would block, and the futures that wait for it.
//! It knows no executor: a future is polled by whoever awaits it and woken
//! through the waker it was polled with.

use crate::log::lock;
use mirrordna_core::{Code, Error, Result};
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

type Task = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct State {
    queue: VecDeque<Task>,
    /// Futures that found the queue full, by the number of their job.
    waiting: VecDeque<(u64, Waker)>,
    jobs: u64,
    closed: bool,
}

struct Shared {
    state: Mutex<State>,
    work: Condvar,
    capacity: usize,
}

impl Shared {
    /// Runs tasks until the pool is gone and the queue is empty: what was
    /// queued is done, whether or not somebody still waits for it.
    fn serve(&self) {
        loop {
            let state = lock(&self.state);
            let idle = |s: &mut State| s.queue.is_empty() && !s.closed;
            let mut state = self.work.wait_while(state, idle).unwrap_or_else(PoisonError::into_inner);
            let Some(task) = state.queue.pop_front() else { return };
            let room = state.waiting.pop_front();
            drop(state);
            if let Some((_, waker)) = room {
                waker.wake();
            }
            // The job notices that its task is gone; the thread goes on.
            let _panicked = catch_unwind(AssertUnwindSafe(task));
        }
    }

    /// Queues a task, or remembers whom to wake when there is room.
    fn submit(&self, job: u64, task: Task, waker: &Waker) -> Result<(), Task> {
        let mut state = lock(&self.state);
        state.waiting.retain(|(waiting, _)| *waiting != job);
        if state.queue.len() < self.capacity {
            state.queue.push_back(task);
            drop(state);
            self.work.notify_one();
            return Ok(());
        }
        state.waiting.push_back((job, waker.clone()));
        Err(task)
    }

    /// A job that will not come: its turn goes to the next.
    fn give_up(&self, job: u64) {
        let mut state = lock(&self.state);
        state.waiting.retain(|(waiting, _)| *waiting != job);
        let next = if state.queue.len() < self.capacity { state.waiting.pop_front() } else { None };
        drop(state);
        if let Some((_, waker)) = next {
            waker.wake();
        }
    }
}

/// The threads of one engine.
pub(super) struct Pool {
    shared: Arc<Shared>,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pool({} queued)", lock(&self.shared.state).queue.len())
    }
}

impl Pool {
    pub(super) fn new(threads: usize, capacity: usize) -> Result<Self> {
        let shared = Arc::new(Shared { state: Mutex::default(), work: Condvar::new(), capacity: capacity.max(1) });
        let pool = Self { shared };
        for _ in 0..threads.max(1) {
            let shared = pool.shared.clone();
            let thread = std::thread::Builder::new().name("mirrordna-aio".into()).spawn(move || shared.serve());
            thread.map_err(|e| Error::new(Code::StoreIo, "cannot start a thread of the pool").caused_by(e))?;
        }
        Ok(pool)
    }

    /// Work that is queued at the first poll.
    pub(super) fn run<T: Send + 'static>(&self, work: impl FnOnce() -> Result<T> + Send + 'static) -> Job<T> {
        let slot = Arc::new(Mutex::new(Slot { outcome: None, waker: None }));
        let answer = Answer(slot.clone());
        let task: Task = Box::new(move || {
            let outcome = work();
            answer.give(outcome);
        });
        let mut state = lock(&self.shared.state);
        state.jobs += 1;
        Job { shared: self.shared.clone(), number: state.jobs, task: Some(task), slot }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        lock(&self.shared.state).closed = true;
        self.shared.work.notify_all();
    }
}

struct Slot<T> {
    outcome: Option<Result<T>>,
    waker: Option<Waker>,
}

/// Answers exactly once, also where the work panics.
struct Answer<T>(Arc<Mutex<Slot<T>>>);

impl<T> Answer<T> {
    fn give(&self, outcome: Result<T>) {
        let waker = {
            let mut slot = lock(&self.0);
            slot.outcome = Some(outcome);
            slot.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T> Drop for Answer<T> {
    fn drop(&mut self) {
        // Nobody else holds the answer now; an outcome that was taken left its
        // future, which alone would hear of this.
        if Arc::strong_count(&self.0) > 1 && lock(&self.0).outcome.is_none() {
            self.give(Err(Error::new(Code::Bug, "the work of an asynchronous call panicked; its outcome is unknown")));
        }
    }
}

/// A call under way.
pub(super) struct Job<T> {
    shared: Arc<Shared>,
    number: u64,
    task: Option<Task>,
    slot: Arc<Mutex<Slot<T>>>,
}

impl<T> Future for Job<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(task) = self.task.take() {
            // Before the task can answer.
            lock(&self.slot).waker = Some(cx.waker().clone());
            if let Err(task) = self.shared.submit(self.number, task, cx.waker()) {
                self.task = Some(task);
            }
            return Poll::Pending;
        }
        let mut slot = lock(&self.slot);
        match slot.outcome.take() {
            Some(outcome) => Poll::Ready(outcome),
            None => {
                slot.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl<T> Drop for Job<T> {
    fn drop(&mut self) {
        if self.task.is_some() {
            self.shared.give_up(self.number);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;
    use std::task::Wake;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn poll<T>(job: &mut Job<T>, count: &Arc<Count>) -> Poll<Result<T>> {
        Pin::new(job).poll(&mut Context::from_waker(&Waker::from(count.clone())))
    }

    #[test]
    fn a_full_queue_holds_back_and_whoever_gives_up_passes_the_turn_on() {
        let pool = Pool::new(1, 1).unwrap();
        let (started, running) = mpsc::channel();
        let (release, gate) = mpsc::channel::<()>();
        let counts: Vec<Arc<Count>> = (0..4).map(|_| Arc::default()).collect();
        let mut held = pool.run(move || {
            started.send(()).unwrap();
            gate.recv().unwrap();
            Ok(0)
        });
        assert!(poll(&mut held, &counts[0]).is_pending());
        running.recv().unwrap();
        // One is queued, two find no room.
        let mut queued = pool.run(|| Ok(1));
        assert!(poll(&mut queued, &counts[1]).is_pending());
        let (mut second, mut third) = (pool.run(|| Ok(2)), pool.run(|| Ok(3)));
        assert!(poll(&mut second, &counts[2]).is_pending() && poll(&mut third, &counts[3]).is_pending());
        assert!(second.task.is_some() && third.task.is_some());
        release.send(()).unwrap();
        assert_eq!(pollster::block_on(&mut held).unwrap(), 0);
        assert_eq!(pollster::block_on(&mut queued).unwrap(), 1);
        // The room was offered to the second, which goes away.
        assert_eq!((counts[2].0.load(Ordering::SeqCst), counts[3].0.load(Ordering::SeqCst)), (1, 0));
        drop(second);
        assert_eq!(counts[3].0.load(Ordering::SeqCst), 1);
        assert_eq!(pollster::block_on(third).unwrap(), 3);
    }

    #[test]
    fn a_panic_is_an_error_and_the_thread_goes_on() {
        let pool = Pool::new(1, 4).unwrap();
        let panics = pool.run::<()>(|| panic!("on purpose"));
        assert_eq!(pollster::block_on(panics).unwrap_err().code(), Code::Bug);
        assert_eq!(pollster::block_on(pool.run(|| Ok(7))).unwrap(), 7);
    }

    #[test]
    fn what_was_queued_is_done_though_nobody_waits() {
        let pool = Pool::new(1, 4).unwrap();
        let (done, heard) = mpsc::channel();
        let mut job = pool.run(move || {
            done.send(5).unwrap();
            Ok(())
        });
        let never = pool.run(|| -> Result<()> { panic!("a future that was never polled does nothing") });
        assert!(poll(&mut job, &Arc::default()).is_pending());
        drop((job, never, pool));
        assert_eq!(heard.recv().unwrap(), 5);
    }
}
