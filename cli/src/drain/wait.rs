//! Waiting until a drain has done its work: a thread looks at each proxy, so that a slow one does not keep the others from
//! being seen, and standard error shows how far it is.

use std::io::{self, IsTerminal};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use indicatif::ProgressBar;

use super::clock::Stopwatch;
use super::proxy::Proxy;
use super::state::State;
use super::watch::{End, Goal, Watch};

/// The pause between two looks at a proxy.
const PAUSE: Duration = Duration::from_millis(250);

/// How often somebody who reads a log is told of a change.
const LINE_EVERY: Duration = Duration::from_secs(1);

/// How the wait ended.
pub(crate) struct Waited {
    pub(crate) watch: Watch,
    pub(crate) end: End,
    pub(crate) time: Duration,
}

/// Waits until the drain has done its work at all `proxies`, or `patience` is over. `first` is what the only proxy has told already.
pub(crate) fn wait(
    goal: Goal,
    proxies: &[Proxy],
    first: Option<&State>,
    patience: Duration,
) -> Waited {
    let time = Stopwatch::start();
    let urls = proxies.iter().map(|proxy| proxy.url.to_string());
    let mut watch = Watch::new(goal, urls, patience);
    if let Some(state) = first {
        watch.look(0, Duration::ZERO, Ok(state.clone()));
    }
    let looks = look(proxies);
    let mut progress = Progress::new();
    loop {
        let now = time.elapsed();
        progress.show(&watch, now);
        if let Some(end) = watch.end(now) {
            progress.end();
            return Waited { watch, end, time: now };
        }
        match looks.recv_timeout(patience.saturating_sub(now)) {
            Ok((index, seen)) => watch.look(index, time.elapsed(), seen),
            Err(RecvTimeoutError::Timeout) => {}
            // The threads end only after us.
            Err(RecvTimeoutError::Disconnected) => thread::sleep(PAUSE),
        }
    }
}

/// Looks at each proxy again and again, until nobody listens any more.
fn look(proxies: &[Proxy]) -> mpsc::Receiver<(usize, Result<State, String>)> {
    let (found, looks) = mpsc::channel();
    for (index, proxy) in proxies.iter().cloned().enumerate() {
        let found = found.clone();
        thread::spawn(move || {
            loop {
                let seen = proxy.state().map_err(|error| error.to_string());
                if found.send((index, seen)).is_err() {
                    break;
                }
                thread::sleep(PAUSE);
            }
        });
    }
    looks
}

/// What is shown meanwhile: one line that changes on a terminal, lines elsewhere.
struct Progress {
    bar: Option<ProgressBar>,
    line: String,
    due: Duration,
}

impl Progress {
    fn new() -> Self {
        let bar = io::stderr().is_terminal().then(ProgressBar::new_spinner);
        if let Some(bar) = &bar {
            bar.enable_steady_tick(PAUSE);
        }
        Self { bar, line: String::new(), due: Duration::ZERO }
    }

    fn show(&mut self, watch: &Watch, now: Duration) {
        let line = watch.to_string();
        if let Some(bar) = &self.bar {
            bar.set_message(line);
        } else if line != self.line && now >= self.due {
            eprintln!("{line}");
            self.line = line;
            self.due = now + LINE_EVERY;
        }
    }

    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
