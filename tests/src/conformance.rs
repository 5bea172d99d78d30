//! The same trace on the simulator's `envoy` profile and on a real Envoy: what the clients see must agree.
//!
//! A difference is a bug in one of the two, never a matter of taste. What is left out of the comparison is
//! left out by name: headers that belong to the proxy, the length of pauses below what a loaded machine can
//! tell apart, how much of a response arrives before it is cut, and attempts whose connection is refused,
//! which one upstream cannot do for one exchange and not for the next.

mod client;
pub mod generator;
mod upstream;

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use serde_json::Value;
use sha2::{Digest, Sha256};
use sluice_sim::replay::{Bridge, Options, Report, replay};
use sluice_sim::trace::{Kind, Outcome, Protocol, Trace};
use sluice_sim::{Module, Properties};

use crate::envoy::{Bootstrap, Envoy, Pushed};
use crate::root;

/// How much later than in the simulator something may happen on a real clock; a cut is told a second
/// late by Envoy's own delayed close.
const LATE: Duration = Duration::from_millis(2500);

/// How much earlier than in the simulator something may happen: the pauses between tries are random in
/// both, up to 75 ms for two of them, and scheduling moves the client's own clock.
const EARLY: Duration = Duration::from_millis(200);

/// Headers that are the proxy's own, or say how a body is framed, which proxies choose.
const OWN: [&str; 7] = [
    "connection",
    "content-length",
    "date",
    "server",
    "transfer-encoding",
    "x-envoy-upstream-service-time",
    "keep-alive",
];

/// What the client of an exchange saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The status, if a response began.
    pub status: Option<u16>,
    /// The headers, sorted, without those that are the proxy's own.
    pub headers: Vec<(String, String)>,
    /// The SHA-256 of the body.
    pub body: String,
    /// The length of the body.
    pub bytes: u64,
    /// Whether the response came to its end.
    pub complete: bool,
    /// Whether the proxy announced that it closes the connection; `None` where the connection cannot be
    /// used again anyhow.
    pub closed: Option<bool>,
    /// How often the upstream was asked.
    pub attempts: u32,
    /// From the request to the last byte.
    pub last: Duration,
}

/// A real Envoy with an upstream that plays the scripts of traces, and the module it runs.
pub struct Stage {
    envoy: Envoy,
    scripts: upstream::Scripts,
    module: Module,
    configuration: Value,
    runs: u32,
}

impl Stage {
    /// Starts an Envoy with the drain bridge and this configuration of the filter.
    ///
    /// # Panics
    /// If there is no Envoy or no built module.
    pub fn start(configuration: &Value) -> Self {
        let path = root().join("target/sluice_filter.wasm");
        let wasm = std::fs::read(&path).unwrap_or_else(|error| {
            panic!("{}: {error}; `cargo xtask build` makes it", path.display())
        });
        let module = Module::new(&wasm, &sluice_sim::Limits::default()).expect("our own module");
        let scripts = upstream::Scripts::default();
        let upstream = scripts.serve();
        let envoy = Envoy::start(Bootstrap::discovered(upstream.port, configuration));
        Self { envoy, scripts, module, configuration: configuration.clone(), runs: 0 }
    }

    /// Runs a trace on both, and says in what they differ, a line for each difference.
    ///
    /// # Panics
    /// If the trace is wrong, or does what this stage cannot do.
    pub fn differences(&mut self, text: &str) -> Vec<String> {
        let trace = Trace::parse("trace", text).unwrap_or_else(|error| panic!("{error}"));
        let simulated = self.simulate(&trace);
        let real = self.perform(&trace);
        compare(&simulated, &real)
    }

    fn simulate(&self, trace: &Trace<'_>) -> BTreeMap<String, Seen> {
        let options = Options {
            workers: NonZeroU32::MIN,
            configuration: Some(self.configuration.to_string().into_bytes()),
            vm_id: "sluice".to_owned(),
            properties: Properties::new().with(&["xds", "node", "user_agent_name"], "envoy"),
            bridge: Some(Bridge {
                header: sluice_filter::hygiene::MARKER.to_owned(),
                value: "close".to_owned(),
            }),
            hash_bodies: true,
            ..Options::default()
        };
        let report = replay(Some(&self.module), trace, &options, &mut |_| {})
            .unwrap_or_else(|error| panic!("{error}"));
        seen_in(&report)
    }

    fn perform(&mut self, trace: &Trace<'_>) -> BTreeMap<String, Seen> {
        self.runs += 1;
        // Two runs of one trace must not find each other's attempts.
        let run = self.runs;
        let port = self.envoy.port;
        self.scripts.load(run, trace);
        let start = Instant::now() + Duration::from_millis(20);
        let mut pushed = false;
        let mut seen = std::thread::scope(|scope| {
            let clients: Vec<_> = client::Connection::of(trace)
                .into_iter()
                .map(|connection| scope.spawn(move || connection.run(port, run, start)))
                .collect();
            for event in &trace.events {
                if let Kind::Configure { configuration, expect } = &event.kind {
                    client::sleep_until(start + event.at);
                    let verdict = self.envoy.push_text(configuration);
                    assert_eq!(verdict == Pushed::Accepted, expect.accepted, "{configuration}");
                    pushed = true;
                }
            }
            let seen = clients.into_iter().flat_map(|client| client.join().expect("a client"));
            seen.collect::<BTreeMap<_, _>>()
        });
        if pushed {
            let configuration = self.configuration.clone();
            assert_eq!(self.envoy.push(&configuration), Pushed::Accepted);
        }
        for (id, seen) in &mut seen {
            seen.attempts = self.scripts.attempts(run, id);
        }
        seen
    }
}

fn seen_in(report: &Report<'_>) -> BTreeMap<String, Seen> {
    let seen = report.exchanges.iter().map(|exchange| {
        let complete = exchange.end == Outcome::Complete;
        let seen = Seen {
            status: exchange.status,
            headers: visible(exchange.headers.iter().map(|(name, value)| {
                let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
                (text(name), text(value))
            })),
            body: exchange.body_sha256.clone().unwrap_or_default(),
            bytes: exchange.body_bytes,
            complete,
            closed: complete.then_some(exchange.closed),
            attempts: exchange.upstream.attempts,
            last: exchange.last_byte,
        };
        (exchange.id.to_owned(), seen)
    });
    seen.collect()
}

fn compare(simulated: &BTreeMap<String, Seen>, real: &BTreeMap<String, Seen>) -> Vec<String> {
    let mut differences = Vec::new();
    for (id, simulated) in simulated {
        let Some(real) = real.get(id) else {
            differences.push(format!("{id}: the real client saw nothing"));
            continue;
        };
        let mut differ = |what: &str, simulated: String, real: String| {
            if simulated != real {
                differences.push(format!("{id}: {what}: simulator {simulated}, Envoy {real}"));
            }
        };
        differ("status", format!("{:?}", simulated.status), format!("{:?}", real.status));
        differ("headers", format!("{:?}", simulated.headers), format!("{:?}", real.headers));
        // What of a response that is cut was on its way then is lost with it: with HTTP/2 all that
        // flow control held back.
        if simulated.complete || real.complete || real.bytes > simulated.bytes {
            differ("body bytes", simulated.bytes.to_string(), real.bytes.to_string());
            differ("body", simulated.body.clone(), real.body.clone());
        }
        differ("complete", simulated.complete.to_string(), real.complete.to_string());
        differ("attempts", simulated.attempts.to_string(), real.attempts.to_string());
        if let (Some(simulated), Some(real)) = (simulated.closed, real.closed) {
            differ("closed", simulated.to_string(), real.to_string());
        }
        if real.last + EARLY < simulated.last || real.last > simulated.last + LATE {
            differ("last byte", format!("{:?}", simulated.last), format!("{:?}", real.last));
        }
    }
    differences
}

/// What is compared of a list of headers.
fn visible(headers: impl Iterator<Item = (String, String)>) -> Vec<(String, String)> {
    let mut headers: Vec<_> = headers.filter(|(name, _)| !OWN.contains(&name.as_str())).collect();
    headers.sort();
    headers
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
