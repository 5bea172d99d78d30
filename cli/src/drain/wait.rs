//! The wait for a drain. One thread polls each proxy, so that a slow one does not delay the others.
//! Standard error shows the progress.

use std::io::{self, IsTerminal};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use indicatif::ProgressBar;

use super::clock::Stopwatch;
use super::progress::{End, Goal, Progress};
use super::proxy::{Proxy, ProxyError};
use super::state::ProxyState;

/// The pause between two polls of a proxy.
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// The shortest time between two lines of progress in a log.
const LINE_INTERVAL: Duration = Duration::from_secs(1);

pub(crate) struct Waited {
    pub(crate) progress: Progress,
    pub(crate) end: End,
    pub(crate) elapsed: Duration,
}

type Poll = (usize, Result<ProxyState, ProxyError>);

/// Waits until the drain is complete at all `proxies`, or until `timeout`. `first` is the state
/// that the only proxy reported when it started the drain.
pub(crate) fn wait(
    goal: Goal,
    proxies: &[Proxy],
    first: Option<&ProxyState>,
    timeout: Duration,
) -> Waited {
    let time = Stopwatch::start();
    let urls = proxies.iter().map(|proxy| proxy.url.to_string());
    let mut progress = Progress::new(goal, urls, timeout);
    if let Some(state) = first {
        progress.record_poll(0, Duration::ZERO, Ok(state.clone()));
    }
    let polls = poll(proxies);
    let mut display = Display::new();
    loop {
        let elapsed = time.elapsed();
        display.show(&progress, elapsed);
        if let Some(end) = progress.end(elapsed) {
            display.clear();
            return Waited { progress, end, elapsed };
        }
        match polls.recv_timeout(timeout.saturating_sub(elapsed)) {
            Ok((index, result)) => progress.record_poll(index, time.elapsed(), result),
            Err(RecvTimeoutError::Timeout) => {}
            // No thread ends while this function runs, except one that panicked.
            Err(RecvTimeoutError::Disconnected) => thread::sleep(POLL_INTERVAL),
        }
    }
}

/// Polls each proxy until the receiver is dropped.
fn poll(proxies: &[Proxy]) -> mpsc::Receiver<Poll> {
    let (sender, polls) = mpsc::channel();
    for (index, proxy) in proxies.iter().cloned().enumerate() {
        let sender = sender.clone();
        thread::spawn(move || {
            while sender.send((index, proxy.state())).is_ok() {
                thread::sleep(POLL_INTERVAL);
            }
        });
    }
    polls
}

/// The progress on standard error: one changing line on a terminal, several lines elsewhere.
struct Display {
    bar: Option<ProgressBar>,
    last_line: String,
    next_line_at: Duration,
}

impl Display {
    fn new() -> Self {
        let bar = io::stderr().is_terminal().then(ProgressBar::new_spinner);
        if let Some(bar) = &bar {
            bar.enable_steady_tick(POLL_INTERVAL);
        }
        Self { bar, last_line: String::new(), next_line_at: Duration::ZERO }
    }

    fn show(&mut self, progress: &Progress, elapsed: Duration) {
        let line = progress.to_string();
        if let Some(bar) = &self.bar {
            bar.set_message(line);
        } else if line != self.last_line && elapsed >= self.next_line_at {
            eprintln!("{line}");
            self.last_line = line;
            self.next_line_at = elapsed + LINE_INTERVAL;
        }
    }

    fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
