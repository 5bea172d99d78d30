//! Judges an epoch: which old connections closed, which newer ones did, which requests failed, and
//! whether a reported number of in-flight requests was below the truth.
//!
//! A connection is *old* if its first response ended before the drain was written. It is *newer* if
//! it was opened one refresh after all workers of its proxy had learned the drain. Between the two
//! it is neither.
//!
//! After a crash, each stream of that VM fails at its next callback: Envoy replies 503 with the
//! details `wasm_fail_stream`. Until it has built the next VM, it replies the same to new requests.
//! These failures are by design and counted separately. A client cannot know the worker of its
//! connection, so the rule is: such a reply to a request that was open while a VM of the proxy
//! crashed. An upload that was open then may instead fail in any way, because Envoy replies before
//! the end of its body.

use std::time::Duration;

use super::configuration::poll_interval;
use super::fault::proxy_name;
use super::journal::{Close, Connection, Entries, FailedRequest, Failure, Request, Response};
use super::plan::{EpochPlan, Mode, PROXIES, Source};
use super::timeline::{Events, Sample, Span};

/// How long a request has to be open, beyond one refresh, before it has to be counted.
const LEAD: Duration = Duration::from_millis(1250);

/// How long a request has to stay open after a count, so that the count had to include it.
pub(super) const TRAIL: Duration = Duration::from_millis(500);

/// The time that a client may need to read a response that has arrived.
const CLIENT_DELAY: Duration = Duration::from_secs(1);

/// The time in which Envoy replaces a crashed VM, at most.
const VM_RESTART: Duration = Duration::from_secs(1);

/// After this time, the requests of a crashed VM are no longer counted (ten seconds in the filter).
const CRASHED_COUNT: Duration = Duration::from_secs(9);

/// The time that a loaded machine may add to the learning of an epoch.
const LEARN_MARGIN: Duration = Duration::from_secs(6);

/// The time that Envoy may need to compile a module on a loaded machine.
const COMPILATION: Duration = Duration::from_secs(15);

/// The longest pause between two polls of a store that fails.
const LONGEST_BACKOFF: Duration = Duration::from_secs(30);

/// How the drain of an epoch went at one proxy.
#[derive(Debug, Clone, Copy)]
pub(super) struct Learned {
    /// When all workers had learned it, and by when they should have.
    pub(super) at: Duration,
    pub(super) expected: Duration,
    /// A proxy whose process was replaced has learned it in the next process at this time.
    pub(super) again: Option<Duration>,
}

/// What is known about an epoch.
#[derive(Debug)]
pub(super) struct Facts<'a> {
    pub(super) plan: &'a EpochPlan,
    pub(super) refreshes: [Duration; PROXIES],
    /// When the drain was written.
    pub(super) written: Duration,
    pub(super) learned: [Learned; PROXIES],
    pub(super) entries: &'a Entries,
    pub(super) events: &'a Events,
}

/// The numbers of an epoch.
#[derive(Debug, Clone, Default)]
pub struct EpochReport {
    /// The drain.
    pub drain: String,
    /// The connections that existed when the drain was written.
    pub old: usize,
    /// Those that the filter closed.
    pub closed: usize,
    /// Those that ended otherwise: by Envoy's own drain, or by the client after a failure.
    pub ended: usize,
    /// Those that made no request after the drain.
    pub silent: usize,
    /// Those that should have closed and did not. In a `terminate`, newer ones are included.
    pub left: usize,
    /// The newer connections.
    pub newer: usize,
    /// Those that the filter closed. After `off`, old ones are included.
    pub newer_closed: usize,
    /// The requests.
    pub requests: u64,
    /// Those that failed.
    pub failed: usize,
    /// Those that failed because a VM crashed on request.
    pub crashed: usize,
    /// Pipelined requests after a response that closed the connection. The proxy has not read them.
    pub unanswered: u64,
    /// The time until all workers of all proxies had learned the drain.
    pub learned: Duration,
    /// The counts of in-flight requests that were compared with the clients' own.
    pub counts: usize,
    /// Those below the number of requests that were open.
    pub too_low: usize,
    /// Each violation in words.
    pub violations: Vec<String>,
}

impl Facts<'_> {
    pub(super) fn judge(&self) -> EpochReport {
        let mut report = EpochReport {
            drain: format!("{} by {}", self.plan.mode.word(), self.plan.source),
            requests: self.entries.requests,
            unanswered: self.entries.unanswered,
            ..EpochReport::default()
        };
        self.judge_learning(&mut report);
        for connection in self.entries.connections.values() {
            self.judge_connection(connection, &mut report);
        }
        for failed in &self.entries.failures {
            self.judge_failure(failed, &mut report);
        }
        for sample in &self.events.samples {
            self.judge_sample(sample, &mut report);
        }
        report
    }

    fn judge_learning(&self, report: &mut EpochReport) {
        for (proxy, learned) in self.learned.iter().enumerate() {
            let took = learned.at.saturating_sub(self.written);
            report.learned = report.learned.max(took);
            if learned.at > learned.expected {
                report.violations.push(format!(
                    "{} learned the drain after {took:.1?}, expected at most {:.1?}",
                    proxy_name(proxy),
                    learned.expected.saturating_sub(self.written)
                ));
            }
        }
    }

    /// When a connection of this proxy that was opened then follows the drain for certain.
    fn settled(&self, proxy: usize, opened: Duration) -> Duration {
        let Learned { at, again, .. } = self.learned[proxy];
        let handover = |span: &&Span| span.proxy == proxy && span.to > self.written;
        let is_successor = self.events.handovers.iter().filter(handover).any(|s| opened >= s.from);
        let learned = if is_successor { again.unwrap_or(at).max(at) } else { at };
        learned + self.refreshes[proxy]
    }

    fn judge_connection(&self, connection: &Connection, report: &mut EpochReport) {
        let Connection { proxy, opened, closed, responses, .. } = connection;
        if closed.is_some_and(|closed| closed <= self.written) {
            return;
        }
        let settled = self.settled(*proxy, *opened);
        let due = settled + self.plan.window;
        let is_old = connection.first_response.is_some_and(|first| first < self.written);
        let is_newer = *opened > settled;
        let is_late =
            |response: &&Response| response.sent > due || response.received > due + CLIENT_DELAY;
        let stays = |response: &&Response| response.close == Close::No && is_late(response);
        let stayed = responses.iter().find(stays);
        let by_filter = |response: &&Response| {
            response.close == Close::ByFilter && response.received > self.written
        };
        let closed_by_filter = responses.iter().find(by_filter);
        report.newer += usize::from(is_newer);
        if is_old {
            report.old += 1;
            match (closed_by_filter, stayed) {
                (Some(_), _) => report.closed += 1,
                (None, Some(_)) => {}
                (None, None) if closed.is_some() => report.ended += 1,
                (None, None) => report.silent += 1,
            }
        }
        let must_close = match self.plan.mode {
            Mode::Reload => is_old,
            Mode::Terminate => true,
            Mode::Off => false,
        };
        if let Some(response) = stayed.filter(|_| must_close) {
            report.left += 1;
            report.violations.push(format!(
                "{} left open: request at {:.2?}, response at {:.2?}, due at {due:.2?}",
                describe(connection),
                response.sent,
                response.received
            ));
        }
        let must_stay = match self.plan.mode {
            Mode::Reload => is_newer,
            Mode::Terminate => false,
            Mode::Off => closed_by_filter.is_some_and(|response| response.sent > settled),
        };
        if let Some(response) = closed_by_filter.filter(|_| must_stay) {
            report.newer_closed += 1;
            report.violations.push(format!(
                "{} closed by the filter at {:.2?}, learned and settled at {settled:.2?}",
                describe(connection),
                response.received
            ));
        }
    }

    fn judge_failure(&self, failed: &FailedRequest, report: &mut EpochReport) {
        let FailedRequest { client, request, at, failure } = failed;
        let is_crash_reply =
            matches!(failure, Failure::Status(503, details) if details == "wasm_fail_stream");
        let is_open = |span: &Span| match is_crash_reply {
            true => span.overlaps(request.sent.saturating_sub(VM_RESTART), *at),
            false => request.uploads && span.overlaps(request.sent, *at),
        };
        if self.events.crashes_of(request.proxy).any(is_open) {
            report.crashed += 1;
            return;
        }
        report.failed += 1;
        report.violations.push(format!(
            "{client} request to {} from {:.2?} to {at:.2?}, connection opened at {:.2?}: {failure}",
            proxy_name(request.proxy),
            request.sent,
            request.opened
        ));
    }

    fn judge_sample(&self, sample: &Sample, report: &mut EpochReport) {
        let is_counted = |request: &Request| self.is_counted(request, sample);
        let stays_open = |end: &Duration| *end > sample.answered + TRAIL;
        let open = self.entries.open.values().filter(|request| is_counted(request)).count();
        let long = self.entries.long.iter();
        let long = long.filter(|(request, end)| stays_open(end) && is_counted(request)).count();
        let truth = (open + long) as u64;
        report.counts += usize::from(truth > 0);
        if sample.in_flight < truth {
            report.too_low += 1;
            report.violations.push(format!(
                "{:?} of {} reported {} in-flight requests between {:.2?} and {:.2?}, but {truth} \
                 were open",
                sample.place,
                proxy_name(sample.proxy),
                sample.in_flight,
                sample.asked,
                sample.answered
            ));
        }
    }

    /// Whether a sample has to include this request, if the request is still open.
    fn is_counted(&self, request: &Request, sample: &Sample) -> bool {
        let proxy = request.proxy;
        let lead = self.refreshes[proxy] + LEAD;
        let is_read = || self.events.active_time(proxy, request.sent, sample.asked) > lead;
        // A VM that crashed reported its requests for the last time up to one refresh before.
        let is_known = |crash: &Span| {
            let is_reported = self.events.active_time(proxy, request.sent, crash.from) > lead;
            let is_after = crash.from > sample.answered;
            is_after || (is_reported && sample.answered < crash.from + CRASHED_COUNT)
        };
        let was_open = |crash: &&Span| crash.to > request.sent;
        proxy == sample.proxy
            && request.sent < sample.asked
            && self.events.is_same_process(proxy, request.opened, sample.opened)
            && is_read()
            && self.events.crashes_of(proxy).filter(was_open).all(is_known)
    }
}

fn describe(connection: &Connection) -> String {
    let Connection { proxy, client, opened, .. } = connection;
    format!("{client} connection to {} opened at {opened:.2?}", proxy_name(*proxy))
}

/// By when all workers should have learned a drain, if nothing prevents it from `free` on.
/// `outage`: how long the store did not respond before.
pub(super) fn expected_by(
    source: Source,
    free: Duration,
    outage: Duration,
    refresh: Duration,
) -> Duration {
    // A poller doubles its pause with each failure.
    let backoff = (2 * outage).min(LONGEST_BACKOFF);
    let module = if source == Source::PushWithModule { COMPILATION } else { Duration::ZERO };
    free + backoff + module + 2 * poll_interval(refresh) + 3 * refresh + LEARN_MARGIN
}
