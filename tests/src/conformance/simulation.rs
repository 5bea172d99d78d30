//! A trace in the simulator, set up like the stage's Envoy.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use sluice_sim::replay::{ExchangeReport, Options, Report, replay};
use sluice_sim::trace::{Event, EventKind, Outcome, Trace};
use sluice_sim::{Module, Profile, Properties};

use super::ended::{self, Ended};
use super::seen::{self, Seen};

/// What the simulator says of a trace.
pub(super) struct Simulated {
    /// What its clients saw.
    pub(super) seen: BTreeMap<String, Seen>,
    /// How many of its streams ended badly.
    pub(super) ended: Ended,
    /// Configurations that it judged otherwise than the trace says.
    pub(super) misjudged: Vec<String>,
    spans: Vec<Span>,
}

/// An exchange in time.
struct Span {
    line: u32,
    id: String,
    begin: Duration,
    end: Duration,
    /// The proxy ended it, and not the client that went away.
    ends_itself: bool,
    /// The upstream is asked at once.
    asks: bool,
}

impl Span {
    fn lasts_beyond(&self, moment: Duration) -> bool {
        !self.ends_itself || self.end > moment
    }
}

impl Simulated {
    /// Replays a trace.
    ///
    /// # Panics
    /// If the filter refuses its first configuration.
    pub(super) fn of(trace: &Trace<'_>, configuration: &Value, module: &Module) -> Self {
        let options = Options::new(Profile::Envoy)
            .configuration(configuration.to_string())
            .vm_id("sluice")
            .properties(Properties::new().with(&["xds", "node", "user_agent_name"], "envoy"))
            .drain_bridge(sluice_filter::hygiene::MARKER, "close")
            .decision_function(sluice_filter::decision::FUNCTION)
            .hash_bodies(true);
        let report = replay(Some(module), trace, &options, &mut |_| {})
            .unwrap_or_else(|error| panic!("{error}"));
        let misjudged = report.configurations.iter().filter(|judged| !judged.failures.is_empty());
        Self {
            seen: seen::in_report(&report, trace),
            ended: ended::in_report(&report),
            misjudged: misjudged
                .map(|judged| {
                    format!("line {}: accepted: {} in the simulator", judged.line, judged.accepted)
                })
                .collect(),
            spans: spans(&report, trace),
        }
    }

    /// How long it takes until the last exchange is over.
    pub(super) fn length(&self) -> Duration {
        self.spans.iter().map(|span| span.end).max().unwrap_or_default()
    }

    /// The exchanges that are over when an event happens.
    pub(super) fn over_before(&self, event: &Event<'_>) -> impl Iterator<Item = &str> {
        let (line, at) = (event.line, event.at);
        let over = move |span: &&Span| span.line < line && !span.lasts_beyond(at);
        self.spans.iter().filter(over).map(|span| span.id.as_str())
    }

    /// When the exchange on this line is over; never if it is its client that ends it.
    pub(super) fn over_at(&self, line: u32) -> Duration {
        let span = self.spans.iter().find(|span| span.line == line && span.ends_itself);
        span.map_or(Duration::MAX, |span| span.end)
    }

    /// The lines of the exchanges whose upstream is at work when an event happens.
    pub(super) fn asking_at(&self, event: &Event<'_>) -> impl Iterator<Item = u32> {
        let (line, at) = (event.line, event.at);
        let asking = move |span: &&Span| {
            span.asks && span.line < line && span.begin <= at && span.lasts_beyond(at)
        };
        self.spans.iter().filter(asking).map(|span| span.line)
    }
}

fn spans(report: &Report<'_>, trace: &Trace<'_>) -> Vec<Span> {
    let bare = |line: u32| {
        trace.events.iter().any(|event| match &event.kind {
            EventKind::Exchange(exchange) => event.line == line && exchange.request.body.is_empty(),
            _ => false,
        })
    };
    let span = |exchange: &ExchangeReport<'_>| Span {
        line: exchange.line,
        id: exchange.id.to_owned(),
        begin: exchange.sent,
        end: exchange.sent + exchange.last_byte,
        ends_itself: matches!(exchange.end, Outcome::Complete | Outcome::Cut),
        asks: exchange.upstream.attempts > 0 && bare(exchange.line),
    };
    report.exchanges.iter().map(span).collect()
}
