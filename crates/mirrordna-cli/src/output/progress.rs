//! Progress of long work: shown after a second, on a terminal only.

use super::Output;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{IsTerminal, stderr};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// Work that ends sooner shows nothing.
const PATIENCE: Duration = Duration::from_secs(1);

/// What is counted.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Unit {
    /// Bytes of a file.
    Bytes,
    /// Events of a log.
    Events,
    /// Keys of subjects.
    Keys,
}

/// A progress bar on standard error. It goes away when it is dropped, so that
/// an error is not printed into it.
pub(crate) struct Progress {
    bar: ProgressBar,
    unit: Unit,
    total: u64,
    timer: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Progress {
    /// Begins; `label` says what is being done.
    pub(crate) fn new(label: &'static str, unit: Unit, out: &Output) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden()).with_message(label);
        bar.set_style(style("{spinner} {msg} {elapsed}"));
        // The bar appears also where the work has not told anything yet.
        let timer = (!out.json && stderr().is_terminal()).then(|| {
            let (ended, wait) = channel();
            let bar = bar.clone();
            let show = move || {
                if wait.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                    bar.set_draw_target(ProgressDrawTarget::stderr());
                    bar.enable_steady_tick(Duration::from_millis(100));
                }
            };
            (ended, std::thread::spawn(show))
        });
        Self { bar, unit, total: 0, timer }
    }

    /// So much is done, of so much.
    pub(crate) fn update(&mut self, done: u64, total: u64) {
        if self.total != total {
            self.total = total;
            self.bar.set_length(total);
            self.bar.set_style(match self.unit {
                Unit::Bytes => style("{msg} [{bar:30}] {bytes} of {total_bytes}, {eta} left"),
                Unit::Events => style("{msg} [{bar:30}] {human_pos} of {human_len} events, {eta} left"),
                Unit::Keys => style("{msg} [{bar:30}] {human_pos} of {human_len} keys, {eta} left"),
            });
        }
        self.bar.set_position(done);
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((ended, thread)) = self.timer.take() {
            drop(ended);
            let _panicked = thread.join();
        }
        self.bar.finish_and_clear();
    }
}
