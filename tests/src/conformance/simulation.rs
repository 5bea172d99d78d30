//! Runs a trace in the simulator, with the same setup as the real Envoy.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::{Value, json};
use sluice_sim::proxy::Setup;
use sluice_sim::replay::{ExchangeReport, Options, Report, replay};
use sluice_sim::trace::{Event, EventKind, Outcome, Trace};
use sluice_sim::{Module, Profile, Properties};

use super::failure_counts::{self, FailureCounts};
use super::observation::{self, Observation};

/// The result of a trace in the simulator.
pub(super) struct Simulated {
    /// The observations of the clients.
    pub(super) observed: BTreeMap<String, Observation>,
    /// The failed streams.
    pub(super) failures: FailureCounts,
    /// A line for each configuration that was accepted or rejected against the trace's expectation.
    pub(super) wrong_verdicts: Vec<String>,
    spans: Vec<Span>,
}

/// The time span of an exchange.
struct Span {
    line: u32,
    id: String,
    begin: Duration,
    end: Duration,
    /// Whether the exchange ended without a close by the client.
    ends_itself: bool,
    /// Whether the upstream receives the request without delay.
    reaches_upstream: bool,
}

impl Span {
    fn lasts_beyond(&self, time: Duration) -> bool {
        !self.ends_itself || self.end > time
    }
}

impl Simulated {
    /// Replays a trace.
    ///
    /// # Panics
    /// If the filter rejects the first configuration.
    pub(super) fn of(trace: &Trace<'_>, configuration: &Value, module: &Module) -> Self {
        let options = Options::new(Profile::Envoy)
            .with_configuration(configuration.to_string())
            .with_setup(measured_version())
            .with_vm_id("sluice")
            .with_properties(Properties::new().with(&["xds", "node", "user_agent_name"], "envoy"))
            .with_drain_bridge(sluice_filter::reserved_headers::MARKER, "close")
            .with_decision_function(sluice_filter::decision::FUNCTION)
            .with_hash_bodies(true);
        let report = replay(Some(module), trace, &options, &mut |_| {})
            .unwrap_or_else(|error| panic!("{error}"));
        let wrong_verdicts =
            report.configurations.iter().filter(|checked| !checked.failures.is_empty());
        Self {
            observed: observation::in_report(&report, trace),
            failures: failure_counts::in_report(&report),
            wrong_verdicts: wrong_verdicts
                .map(|checked| {
                    format!(
                        "line {}: accepted: {} in the simulator",
                        checked.line, checked.accepted
                    )
                })
                .collect(),
            spans: spans(&report, trace),
        }
    }

    /// The end of the last exchange.
    pub(super) fn length(&self) -> Duration {
        self.spans.iter().map(|span| span.end).max().unwrap_or_default()
    }

    /// The earlier exchanges that have ended at the time of an event.
    pub(super) fn ended_before(&self, event: &Event<'_>) -> impl Iterator<Item = &str> {
        let (line, at) = (event.line, event.at);
        let ended = move |span: &&Span| span.line < line && !span.lasts_beyond(at);
        self.spans.iter().filter(ended).map(|span| span.id.as_str())
    }

    /// The end of the exchange on this line; [`Duration::MAX`] if the client ends it by a close.
    pub(super) fn ends_at(&self, line: u32) -> Duration {
        let span = self.spans.iter().find(|span| span.line == line && span.ends_itself);
        span.map_or(Duration::MAX, |span| span.end)
    }

    /// The lines of the exchanges whose upstream is active at the time of an event.
    pub(super) fn upstream_active_at(&self, event: &Event<'_>) -> impl Iterator<Item = u32> {
        let (line, at) = (event.line, event.at);
        let active = move |span: &&Span| {
            span.reaches_upstream && span.line < line && span.begin <= at && span.lasts_beyond(at)
        };
        self.spans.iter().filter(active).map(|span| span.line)
    }
}

/// The version of the real Envoy, so that older ones can be compared too.
fn measured_version() -> Setup {
    static VERSION: OnceLock<(u32, u32)> = OnceLock::new();
    let (major, minor) = VERSION.get_or_init(crate::envoy::version);
    // A random id in the body of an error page would differ.
    let section = json!({ "version": format!("{major}.{minor}"), "generate_request_id": false });
    Setup::parse(&section.to_string()).unwrap_or_else(|error| panic!("{error}"))
}

fn spans(report: &Report, trace: &Trace<'_>) -> Vec<Span> {
    let without_body = |line: u32| {
        trace.events.iter().any(|event| match &event.kind {
            EventKind::Exchange(exchange) => event.line == line && exchange.request.body.is_empty(),
            _ => false,
        })
    };
    let span = |exchange: &ExchangeReport<'_>| Span {
        line: exchange.line,
        id: exchange.id.to_string(),
        begin: exchange.sent,
        end: exchange.sent + exchange.last_byte,
        ends_itself: matches!(exchange.end, Outcome::Complete | Outcome::Cut),
        reaches_upstream: exchange.upstream.attempts > 0 && without_body(exchange.line),
    };
    report.exchanges.iter().map(span).collect()
}
