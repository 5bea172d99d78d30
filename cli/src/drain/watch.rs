//! Whether a drain has done its work: what a look at each proxy means, and when there is nothing left to wait for.
//!
//! A number in flight is late by up to a tick of the proxy's workers, and a client that is idle just now has not been told yet. So
//! a terminate is over only when nothing was in flight for a while without a break, and no drain is over before its window is. That of a
//! reload or a rebalance ends there: the connections that it leaves alone go on making requests.

use std::fmt;
use std::time::Duration;

use sluice_filter::config::DrainMode;
use sluice_filter::drain::Record;

use super::report::count;
use super::state::State;
use crate::style::{Short, printable};

/// How long nothing must have been in flight.
pub(crate) const QUIET: Duration = Duration::from_secs(2);

/// The drain that is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Goal {
    /// Its epoch.
    pub(crate) epoch: u64,
    mode: DrainMode,
    /// When its window ends, in milliseconds since the Unix epoch.
    ends_ms: u64,
}

impl From<&Record> for Goal {
    fn from(record: &Record) -> Self {
        let ends_ms = record.started_ms.saturating_add(record.window_ms);
        Self { epoch: record.epoch, mode: record.mode, ends_ms }
    }
}

/// All that is known of the proxies that are waited for.
#[derive(Debug)]
pub(crate) struct Watch {
    goal: Goal,
    patience: Duration,
    proxies: Vec<Watched>,
}

/// Why there is nothing more to wait for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The drain has done its work at every proxy.
    Done,
    /// The time for it is over. What is missing.
    TimeUp(String),
    /// Somebody has started another drain. Which one, and where.
    Overtaken(String),
}

/// One proxy.
#[derive(Debug)]
pub(crate) struct Watched {
    /// Where it is asked.
    pub(crate) url: String,
    /// What it told last.
    pub(crate) state: Option<State>,
    /// Why it did not tell anything the last time.
    pub(crate) trouble: Option<String>,
    /// How many connections were closed when it was seen first.
    closed_before: Option<u64>,
    /// Since which look nothing was in flight.
    quiet_since: Option<Duration>,
    /// When it was looked at last.
    seen: Duration,
}

/// How a proxy stands to the goal.
enum Standing<'a> {
    /// It has not heard of it.
    Untold,
    /// It carries it out; its window is open for so long.
    InForce(Duration),
    /// It carries out another one.
    Overtaken(&'a str),
}

impl Watch {
    /// A watch over the proxies at `urls`, which ends after `patience`.
    pub(crate) fn new(goal: Goal, urls: impl Iterator<Item = String>, patience: Duration) -> Self {
        let proxies = urls.map(|url| Watched {
            url,
            state: None,
            trouble: None,
            closed_before: None,
            quiet_since: None,
            seen: Duration::ZERO,
        });
        Self { goal, patience, proxies: proxies.collect() }
    }

    /// Takes note of what a look at the proxy of this index brought.
    pub(crate) fn look(&mut self, index: usize, at: Duration, seen: Result<State, String>) {
        let proxy = &mut self.proxies[index];
        proxy.seen = at;
        match seen {
            Ok(state) => {
                let calm = state.in_flight == 0
                    && matches!(self.goal.standing(&state), Standing::InForce(_));
                proxy.quiet_since = calm.then(|| proxy.quiet_since.unwrap_or(at));
                proxy.closed_before = proxy.closed_before.or(state.closed);
                proxy.trouble = None;
                proxy.state = Some(state);
            }
            Err(trouble) => {
                proxy.quiet_since = None;
                proxy.trouble = Some(trouble);
            }
        }
    }

    /// The end of the watch, if it has come at this time.
    pub(crate) fn end(&self, at: Duration) -> Option<End> {
        if let Some(other) = self.proxies.iter().find_map(|proxy| proxy.overtaken(&self.goal)) {
            return Some(End::Overtaken(other));
        }
        let missing: Vec<String> =
            self.proxies.iter().filter_map(|proxy| proxy.missing(&self.goal)).collect();
        match missing.is_empty() {
            true => Some(End::Done),
            false if at >= self.patience => Some(End::TimeUp(missing.join("; "))),
            false => None,
        }
    }

    /// The proxies.
    pub(crate) fn proxies(&self) -> &[Watched] {
        &self.proxies
    }

    /// The sum of what was closed since the watch began, if anybody tells.
    fn closed(&self) -> Option<u64> {
        self.proxies.iter().filter_map(Watched::closed).reduce(u64::saturating_add)
    }
}

impl fmt::Display for Watch {
    /// How far it is: `3 requests in flight, 17 connections closed, window ends in 12s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let states = || self.proxies.iter().filter_map(|proxy| proxy.state.as_ref());
        let in_flight = states().fold(0_u64, |sum, state| sum.saturating_add(state.in_flight));
        f.write_str(&count(in_flight, "request"))?;
        f.write_str(" in flight")?;
        if let Some(closed) = self.closed() {
            write!(f, ", {} closed", count(closed, "connection"))?;
        }
        let standings = states().map(|state| self.goal.standing(state));
        let open = standings.map(|standing| match standing {
            Standing::InForce(left) => left,
            Standing::Untold | Standing::Overtaken(_) => Duration::ZERO,
        });
        if let Some(left) = open.max().filter(|left| !left.is_zero()) {
            write!(f, ", window ends in {}", Short(whole_seconds(left)))?;
        }
        let waiting =
            self.proxies.iter().filter(|proxy| proxy.missing(&self.goal).is_some()).count();
        if self.proxies.len() > 1 && waiting > 0 {
            write!(f, ", waiting for {waiting} of {} proxies", self.proxies.len())?;
        }
        Ok(())
    }
}

impl Watched {
    fn closed(&self) -> Option<u64> {
        let closed = self.state.as_ref()?.closed?;
        Some(closed.saturating_sub(self.closed_before?))
    }

    fn name<'a>(&'a self, state: &'a State) -> String {
        printable(if state.instance.is_empty() { &self.url } else { &state.instance })
    }

    fn overtaken(&self, goal: &Goal) -> Option<String> {
        let state = self.state.as_ref()?;
        let Standing::Overtaken(mode) = goal.standing(state) else { return None };
        let epoch = state.epoch?;
        Some(format!("epoch {epoch} ({}) at {}", printable(mode), self.name(state)))
    }

    /// What there is to wait for.
    fn missing(&self, goal: &Goal) -> Option<String> {
        if let Some(trouble) = &self.trouble {
            return Some(format!("{}: {trouble}", self.url));
        }
        let Some(state) = &self.state else {
            return Some(format!("{} was not asked yet", self.url));
        };
        let name = self.name(state);
        let Standing::InForce(left) = goal.standing(state) else {
            return Some(format!("{name} does not know of epoch {}", goal.epoch));
        };
        let quiet = self.quiet_since.is_some_and(|since| self.seen - since >= QUIET);
        let waits_for_zero = goal.mode == DrainMode::Terminate;
        match (state.in_flight, left) {
            (1.., _) if waits_for_zero => {
                Some(format!("{} in flight at {name}", count(state.in_flight, "request")))
            }
            (_, Duration::ZERO) if quiet || !waits_for_zero => None,
            (_, Duration::ZERO) => {
                Some(format!("nothing in flight at {name}, but not yet for {}", Short(QUIET)))
            }
            (_, left) => {
                Some(format!("the window ends in {} at {name}", Short(whole_seconds(left))))
            }
        }
    }
}

impl Goal {
    fn standing<'a>(&self, state: &'a State) -> Standing<'a> {
        let (Some(epoch), Some(mode)) = (state.epoch, state.mode.as_deref()) else {
            return Standing::Untold;
        };
        match epoch.cmp(&self.epoch) {
            std::cmp::Ordering::Less => Standing::Untold,
            std::cmp::Ordering::Equal if mode == self.mode.word() => {
                // By the clock that the proxy itself goes by.
                let left = self.ends_ms.saturating_sub(state.timestamp.unix_ms);
                Standing::InForce(Duration::from_millis(left))
            }
            _ => Standing::Overtaken(mode),
        }
    }
}

/// A time to go, never less than it is.
fn whole_seconds(left: Duration) -> Duration {
    Duration::from_secs(left.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "http://a/drain";

    /// A drain of epoch 7 that began at 1 s and has a window of 10 s.
    fn watch(mode: &str, proxies: usize) -> Watch {
        let share = if mode == "rebalance" { r#","percent":5"# } else { "" };
        let record =
            format!(r#"{{"epoch":7,"mode":"{mode}","started_ms":1000,"window_ms":10000{share}}}"#);
        let record = Record::parse(record.as_bytes()).expect("a record");
        let urls = std::iter::repeat_n(URL.to_owned(), proxies);
        Watch::new(Goal::from(&record), urls, Duration::from_secs(60))
    }

    fn state(epoch: u64, mode: &str, in_flight: u64, second: u64) -> Result<State, String> {
        let state = format!(
            r#"{{"status":"ok","instance":"a","epoch":{epoch},"mode":"{mode}","in_flight":{in_flight},
                "timestamp":"1970-01-01T00:00:{second:02}.000Z","closed":{}}}"#,
            40 + second
        );
        serde_json::from_str(&state).map_err(|error| error.to_string())
    }

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Looks at the only proxy, one each second from 0 s on, each with its number in flight; what they mean.
    fn terminate(looks: &[u64]) -> Option<End> {
        let mut watch = watch("terminate", 1);
        for (second, in_flight) in (0..).zip(looks) {
            watch.look(0, at(second * 1000), state(7, "terminate", *in_flight, second + 20));
        }
        watch.end(at(looks.len() as u64 * 1000))
    }

    #[test]
    fn a_terminate_is_over_when_nothing_was_in_flight_for_two_seconds() {
        assert_eq!(terminate(&[]), None);
        assert_eq!(terminate(&[0]), None);
        assert_eq!(terminate(&[0, 0]), None);
        assert_eq!(terminate(&[0, 0, 0]), Some(End::Done));
        assert_eq!(terminate(&[0, 0, 1]), None);
        assert_eq!(terminate(&[0, 0, 1, 0, 0]), None);
        assert_eq!(terminate(&[3, 0, 0, 0]), Some(End::Done));
    }

    #[test]
    fn a_look_that_fails_breaks_the_quiet() {
        let mut watch = watch("terminate", 1);
        watch.look(0, at(0), state(7, "terminate", 0, 20));
        watch.look(0, at(1900), Err("no answer".to_owned()));
        watch.look(0, at(2100), state(7, "terminate", 0, 22));
        assert_eq!(watch.end(at(2100)), None);
        watch.look(0, at(4100), state(7, "terminate", 0, 24));
        assert_eq!(watch.end(at(4100)), Some(End::Done));
    }

    #[test]
    fn no_drain_is_over_before_its_window() {
        for mode in ["terminate", "reload", "rebalance"] {
            let mut watch = watch(mode, 1);
            for second in 1..=10 {
                watch.look(0, at(second * 1000), state(7, mode, 0, second));
                assert_eq!(watch.end(at(second * 1000)), None, "{mode} {second}");
            }
            watch.look(0, at(11_000), state(7, mode, 0, 11));
            assert_eq!(watch.end(at(11_000)), Some(End::Done), "{mode}");
        }
    }

    #[test]
    fn what_a_reload_leaves_alone_goes_on() {
        let mut watch = watch("reload", 1);
        watch.look(0, at(0), state(7, "reload", 9, 11));
        assert_eq!(watch.end(at(0)), Some(End::Done));
    }

    #[test]
    fn a_proxy_that_has_not_heard_of_it_is_waited_for() {
        let mut watch = watch("reload", 2);
        watch.look(0, at(0), state(7, "reload", 0, 11));
        watch.look(1, at(0), state(6, "terminate", 0, 11));
        assert_eq!(watch.end(at(0)), None);
        let missing = "a does not know of epoch 7".to_owned();
        assert_eq!(watch.end(at(60_000)), Some(End::TimeUp(missing)));
        watch.look(1, at(500), state(7, "reload", 0, 12));
        assert_eq!(watch.end(at(500)), Some(End::Done));
    }

    #[test]
    fn another_drain_ends_the_watch() {
        for (epoch, mode) in [(8, "off"), (8, "terminate"), (7, "reload"), (8, "newer")] {
            let mut watch = watch("terminate", 2);
            watch.look(1, at(0), state(epoch, mode, 0, 20));
            let Some(End::Overtaken(other)) = watch.end(at(0)) else { panic!("{epoch} {mode}") };
            assert!(other.starts_with(&format!("epoch {epoch} (")), "{other}");
        }
    }

    #[test]
    fn when_time_is_up_it_says_what_is_missing() {
        let mut watch = watch("terminate", 5);
        watch.look(0, at(0), state(7, "terminate", 3, 20));
        watch.look(1, at(0), state(7, "terminate", 0, 20));
        watch.look(2, at(0), state(7, "terminate", 0, 5));
        watch.look(3, at(0), Err("no answer".to_owned()));
        let expected = "3 requests in flight at a; nothing in flight at a, but not yet for 2s; \
                        the window ends in 6s at a; http://a/drain: no answer; http://a/drain was not asked yet";
        assert_eq!(watch.end(at(59_999)), None);
        assert_eq!(watch.end(at(60_000)), Some(End::TimeUp(expected.to_owned())));
    }

    #[test]
    fn progress_counts_from_the_first_look() {
        let mut watch = watch("terminate", 2);
        watch.look(0, at(0), state(7, "terminate", 2, 2));
        watch.look(1, at(0), state(7, "terminate", 1, 3));
        watch.look(1, at(1000), state(7, "terminate", 0, 20));
        let expected = "2 requests in flight, 17 connections closed, window ends in 9s, waiting for 2 of 2 proxies";
        assert_eq!(watch.to_string(), expected);
        watch.look(1, at(2000), state(7, "terminate", 0, 1));
        assert!(watch.to_string().contains(", 0 connections closed"), "a proxy that began anew");
    }
}
