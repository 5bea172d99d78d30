//! Whether a drain is complete, decided from the states that the proxies report.
//!
//! A proxy's number of in-flight requests is up to one tick old, and an idle client does not see
//! the drain until its next request. A terminate is therefore complete only after a time without
//! in-flight requests, and no drain is complete before its window ends. A reload or a rebalance is
//! complete at the end of its window, because the connections that it keeps go on making requests.

use std::cmp::Ordering;
use std::fmt;
use std::time::Duration;

use sluice_filter::config::DrainMode;
use sluice_filter::drain::Record;

use super::proxy::ProxyError;
use super::state::ProxyState;
use crate::text::{ShortDuration, count, printable};

/// How long a terminate must have no in-flight requests.
pub(crate) const QUIET: Duration = Duration::from_secs(2);

/// The drain to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Goal {
    pub(crate) epoch: u64,
    mode: DrainMode,
    /// The end of the window, in milliseconds since the Unix epoch.
    ends_ms: u64,
}

impl From<&Record> for Goal {
    fn from(record: &Record) -> Self {
        let ends_ms = record.started_ms.saturating_add(record.window_ms);
        Self { epoch: record.epoch, mode: record.mode, ends_ms }
    }
}

/// The progress of a drain at all proxies.
#[derive(Debug)]
pub(crate) struct Progress {
    goal: Goal,
    timeout: Duration,
    proxies: Vec<WatchedProxy>,
}

/// Why the wait ends.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    Complete,
    /// With what is missing, in words.
    TimedOut(String),
    /// With the other drain and the proxy that has it, in words.
    Replaced(String),
}

#[derive(Debug)]
pub(crate) struct WatchedProxy {
    pub(crate) url: String,
    /// The latest state that the proxy reported.
    pub(crate) state: Option<ProxyState>,
    /// Why the latest poll failed.
    pub(crate) error: Option<ProxyError>,
    /// The number of closed connections in its first state.
    closed_before: Option<u64>,
    /// The first poll of the current series without in-flight requests.
    quiet_since: Option<Duration>,
    polled_at: Duration,
}

enum DrainProgress<'a> {
    /// The proxy does not have the drain yet.
    Pending,
    /// The drain is in force; its window is open for this long.
    InForce(Duration),
    /// A drain of this mode is in force instead.
    Replaced(&'a str),
}

impl Progress {
    pub(crate) fn new(goal: Goal, urls: impl Iterator<Item = String>, timeout: Duration) -> Self {
        let proxies = urls.map(|url| WatchedProxy {
            url,
            state: None,
            error: None,
            closed_before: None,
            quiet_since: None,
            polled_at: Duration::ZERO,
        });
        Self { goal, timeout, proxies: proxies.collect() }
    }

    /// Records the result of a poll of the proxy at `index`.
    pub(crate) fn record_poll(
        &mut self,
        index: usize,
        at: Duration,
        result: Result<ProxyState, ProxyError>,
    ) {
        let proxy = &mut self.proxies[index];
        proxy.polled_at = at;
        match result {
            Ok(state) => {
                let in_force = matches!(self.goal.progress(&state), DrainProgress::InForce(_));
                let quiet = in_force && state.in_flight == 0;
                proxy.quiet_since = quiet.then(|| proxy.quiet_since.unwrap_or(at));
                proxy.closed_before = proxy.closed_before.or(state.closed);
                proxy.error = None;
                proxy.state = Some(state);
            }
            Err(error) => {
                proxy.quiet_since = None;
                proxy.error = Some(error);
            }
        }
    }

    /// The end of the wait, if it is reached at this time.
    pub(crate) fn end(&self, at: Duration) -> Option<End> {
        if let Some(other) = self.proxies.iter().find_map(|proxy| proxy.replaced(&self.goal)) {
            return Some(End::Replaced(other));
        }
        let missing: Vec<String> =
            self.proxies.iter().filter_map(|proxy| proxy.missing(&self.goal)).collect();
        match missing.is_empty() {
            true => Some(End::Complete),
            false if at >= self.timeout => Some(End::TimedOut(missing.join("; "))),
            false => None,
        }
    }

    pub(crate) fn proxies(&self) -> &[WatchedProxy] {
        &self.proxies
    }

    /// The connections closed since the first poll; `None` if no proxy reports them.
    fn closed(&self) -> Option<u64> {
        self.proxies.iter().filter_map(WatchedProxy::closed).reduce(u64::saturating_add)
    }
}

impl fmt::Display for Progress {
    /// `3 requests in flight, 17 connections closed, window ends in 12s`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let states = || self.proxies.iter().filter_map(|proxy| proxy.state.as_ref());
        let in_flight = states().fold(0_u64, |sum, state| sum.saturating_add(state.in_flight));
        write!(f, "{} in flight", count(in_flight, "request"))?;
        if let Some(closed) = self.closed() {
            write!(f, ", {} closed", count(closed, "connection"))?;
        }
        let windows = states().map(|state| match self.goal.progress(state) {
            DrainProgress::InForce(left) => left,
            DrainProgress::Pending | DrainProgress::Replaced(_) => Duration::ZERO,
        });
        if let Some(left) = windows.max().filter(|left| !left.is_zero()) {
            write!(f, ", window ends in {}", ShortDuration(whole_seconds(left)))?;
        }
        let waiting =
            self.proxies.iter().filter(|proxy| proxy.missing(&self.goal).is_some()).count();
        if self.proxies.len() > 1 && waiting > 0 {
            write!(f, ", waiting for {waiting} of {} proxies", self.proxies.len())?;
        }
        Ok(())
    }
}

impl WatchedProxy {
    fn closed(&self) -> Option<u64> {
        let closed = self.state.as_ref()?.closed?;
        // A proxy that was restarted counts from 0 again.
        Some(closed.saturating_sub(self.closed_before?))
    }

    fn replaced(&self, goal: &Goal) -> Option<String> {
        let state = self.state.as_ref()?;
        let DrainProgress::Replaced(mode) = goal.progress(state) else { return None };
        let epoch = state.epoch?;
        Some(format!("epoch {epoch} ({}) at {}", printable(mode), state.name(&self.url)))
    }

    /// The remaining work of this proxy; `None` if the drain is complete here.
    fn missing(&self, goal: &Goal) -> Option<String> {
        if let Some(error) = &self.error {
            return Some(format!("{}: {error}", self.url));
        }
        let Some(state) = &self.state else {
            return Some(format!("{} was not polled yet", self.url));
        };
        let name = state.name(&self.url);
        let DrainProgress::InForce(left) = goal.progress(state) else {
            return Some(format!("{name} does not have epoch {} yet", goal.epoch));
        };
        let quiet = self.quiet_since.is_some_and(|since| self.polled_at - since >= QUIET);
        let waits_for_zero = goal.mode == DrainMode::Terminate;
        match (state.in_flight, left) {
            (1.., _) if waits_for_zero => {
                Some(format!("{} in flight at {name}", count(state.in_flight, "request")))
            }
            (_, Duration::ZERO) if quiet || !waits_for_zero => None,
            (_, Duration::ZERO) => Some(format!(
                "0 requests in flight at {name}, but for less than {}",
                ShortDuration(QUIET)
            )),
            (_, left) => {
                Some(format!("the window ends in {} at {name}", ShortDuration(whole_seconds(left))))
            }
        }
    }
}

impl Goal {
    fn progress<'a>(&self, state: &'a ProxyState) -> DrainProgress<'a> {
        let (Some(epoch), Some(mode)) = (state.epoch, state.mode.as_deref()) else {
            return DrainProgress::Pending;
        };
        match epoch.cmp(&self.epoch) {
            Ordering::Less => DrainProgress::Pending,
            Ordering::Equal if mode == self.mode.word() => {
                // The proxy decides by its own clock, so its clock counts here too.
                let left = self.ends_ms.saturating_sub(state.timestamp.unix_ms);
                DrainProgress::InForce(Duration::from_millis(left))
            }
            _ => DrainProgress::Replaced(mode),
        }
    }
}

/// Rounds up, so that "ends in 0s" is never printed for an open window.
fn whole_seconds(left: Duration) -> Duration {
    Duration::from_secs(left.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::super::state::StateError;
    use super::*;

    const URL: &str = "http://a/drain";

    /// Waits for a drain of epoch 7 that starts at 1 s and has a window of 10 s.
    fn progress(mode: &str, proxies: usize) -> Progress {
        let share = if mode == "rebalance" { r#","percent":5"# } else { "" };
        let record =
            format!(r#"{{"epoch":7,"mode":"{mode}","started_ms":1000,"window_ms":10000{share}}}"#);
        let record = Record::parse(record.as_bytes()).expect("a record");
        let urls = std::iter::repeat_n(URL.to_owned(), proxies);
        Progress::new(Goal::from(&record), urls, Duration::from_secs(60))
    }

    fn state(
        epoch: u64,
        mode: &str,
        in_flight: u64,
        second: u64,
    ) -> Result<ProxyState, ProxyError> {
        let state = format!(
            r#"{{"status":"ok","instance":"a","epoch":{epoch},"mode":"{mode}","in_flight":{in_flight},
                "timestamp":"1970-01-01T00:00:{second:02}.000Z","closed":{}}}"#,
            40 + second
        );
        Ok(serde_json::from_str(&state).expect("a state"))
    }

    fn failure() -> Result<ProxyState, ProxyError> {
        let replaced = StateError::Replaced { epoch: 9, mode: "off" };
        Err(ProxyError::State(replaced))
    }

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Polls one proxy each second from 0 s on; each poll reports this number of in-flight
    /// requests.
    fn terminate(in_flight: &[u64]) -> Option<End> {
        let mut progress = progress("terminate", 1);
        for (second, in_flight) in (0..).zip(in_flight) {
            let state = state(7, "terminate", *in_flight, second + 20);
            progress.record_poll(0, at(second * 1000), state);
        }
        progress.end(at(in_flight.len() as u64 * 1000))
    }

    #[test]
    fn a_terminate_is_complete_after_two_seconds_without_in_flight_requests() {
        assert_eq!(terminate(&[]), None);
        assert_eq!(terminate(&[0]), None);
        assert_eq!(terminate(&[0, 0]), None);
        assert_eq!(terminate(&[0, 0, 0]), Some(End::Complete));
        assert_eq!(terminate(&[0, 0, 1]), None);
        assert_eq!(terminate(&[0, 0, 1, 0, 0]), None);
        assert_eq!(terminate(&[3, 0, 0, 0]), Some(End::Complete));
    }

    #[test]
    fn a_failed_poll_restarts_the_quiet_time() {
        let mut progress = progress("terminate", 1);
        progress.record_poll(0, at(0), state(7, "terminate", 0, 20));
        progress.record_poll(0, at(1900), failure());
        progress.record_poll(0, at(2100), state(7, "terminate", 0, 22));
        assert_eq!(progress.end(at(2100)), None);
        progress.record_poll(0, at(4100), state(7, "terminate", 0, 24));
        assert_eq!(progress.end(at(4100)), Some(End::Complete));
    }

    #[test]
    fn no_drain_is_complete_before_its_window_ends() {
        for mode in ["terminate", "reload", "rebalance"] {
            let mut progress = progress(mode, 1);
            for second in 1..=10 {
                progress.record_poll(0, at(second * 1000), state(7, mode, 0, second));
                assert_eq!(progress.end(at(second * 1000)), None, "{mode} {second}");
            }
            progress.record_poll(0, at(11_000), state(7, mode, 0, 11));
            assert_eq!(progress.end(at(11_000)), Some(End::Complete), "{mode}");
        }
    }

    #[test]
    fn a_reload_does_not_wait_for_in_flight_requests() {
        let mut progress = progress("reload", 1);
        progress.record_poll(0, at(0), state(7, "reload", 9, 11));
        assert_eq!(progress.end(at(0)), Some(End::Complete));
    }

    #[test]
    fn every_proxy_must_have_the_drain() {
        let mut progress = progress("reload", 2);
        progress.record_poll(0, at(0), state(7, "reload", 0, 11));
        progress.record_poll(1, at(0), state(6, "terminate", 0, 11));
        assert_eq!(progress.end(at(0)), None);
        let missing = "a does not have epoch 7 yet".to_owned();
        assert_eq!(progress.end(at(60_000)), Some(End::TimedOut(missing)));
        progress.record_poll(1, at(500), state(7, "reload", 0, 12));
        assert_eq!(progress.end(at(500)), Some(End::Complete));
    }

    #[test]
    fn another_drain_ends_the_wait() {
        for (epoch, mode) in [(8, "off"), (8, "terminate"), (7, "reload"), (8, "newer")] {
            let mut progress = progress("terminate", 2);
            progress.record_poll(1, at(0), state(epoch, mode, 0, 20));
            let Some(End::Replaced(other)) = progress.end(at(0)) else { panic!("{epoch} {mode}") };
            assert!(other.starts_with(&format!("epoch {epoch} (")), "{other}");
        }
    }

    #[test]
    fn a_timeout_lists_what_is_missing_at_each_proxy() {
        let mut progress = progress("terminate", 5);
        progress.record_poll(0, at(0), state(7, "terminate", 3, 20));
        progress.record_poll(1, at(0), state(7, "terminate", 0, 20));
        progress.record_poll(2, at(0), state(7, "terminate", 0, 5));
        progress.record_poll(3, at(0), failure());
        let failure = failure().expect_err("a failure");
        let expected = format!(
            "3 requests in flight at a; 0 requests in flight at a, but for less than 2s; \
             the window ends in 6s at a; http://a/drain: {failure}; http://a/drain was not polled yet"
        );
        assert_eq!(progress.end(at(59_999)), None);
        assert_eq!(progress.end(at(60_000)), Some(End::TimedOut(expected)));
    }

    #[test]
    fn closed_connections_count_from_the_first_poll() {
        let mut progress = progress("terminate", 2);
        progress.record_poll(0, at(0), state(7, "terminate", 2, 2));
        progress.record_poll(1, at(0), state(7, "terminate", 1, 3));
        progress.record_poll(1, at(1000), state(7, "terminate", 0, 20));
        let expected = "2 requests in flight, 17 connections closed, window ends in 9s, waiting for 2 of 2 proxies";
        assert_eq!(progress.to_string(), expected);
        progress.record_poll(1, at(2000), state(7, "terminate", 0, 1));
        let line = progress.to_string();
        assert!(line.contains(", 0 connections closed"), "after a restart: {line}");
    }
}
