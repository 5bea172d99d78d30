//! Runs the rows on a real Envoy, one after the other.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::json;
use sluice_sim::trace::{Body, EventKind, Exchange, Trace, UpstreamAttempt};

use super::clusters::{self, Clusters, Script};
use super::rows::{Expected, ExpectedRequest, SETUP, Values};
use super::{Observed, Row};
use crate::envoy::{Bootstrap, Envoy};
use crate::http1::{Client, Response};
use crate::unused_port;
use crate::upstream::{Reply, Request, Upstream};

/// The longest wait for log lines that do not come.
const PATIENCE: Duration = Duration::from_secs(3);

/// The pause in which further log lines would come.
const SETTLE: Duration = Duration::from_millis(60);

/// Runs the rows of a guest.
///
/// # Panics
/// If Envoy does not start with the module.
pub(super) fn run(guest: &str, module: &Path, rows: &[Row]) -> Vec<Observed> {
    let clusters = Clusters::start();
    let scripted = Arc::<Mutex<Scripted>>::default();
    let shared = scripted.clone();
    let upstream = Upstream::start(move |request, reply| {
        let mut scripted = shared.lock().unwrap_or_else(PoisonError::into_inner);
        scripted.received.push(request.clone());
        let response = scripted.response.clone();
        drop(scripted);
        response.write(request, reply);
    });
    let envoy = Envoy::start_with_options(
        bootstrap(guest, module, upstream.port, &clusters),
        1,
        &["--component-log-level", "wasm:trace"],
    );
    let mut player = Player { envoy, clusters, scripted, log: 0 };
    player.new_lines();
    rows.iter().map(|row| player.play(row)).collect()
}

fn bootstrap(guest: &str, module: &Path, upstream: u16, clusters: &Clusters) -> Bootstrap {
    let filter = json!({ "name": "guest", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
        "config": {
            "name": super::PLUGIN,
            "configuration": {
                "@type": "type.googleapis.com/google.protobuf.StringValue",
                "value": super::CONFIGURATION },
            "vm_config": {
                "vm_id": super::vm_id(guest), "runtime": "envoy.wasm.runtime.v8",
                "code": { "local": { "filename": module } } } } } });
    let http2 = json!({ "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": { "http2_protocol_options": {} } } });
    Bootstrap::example("static", upstream)
        .without("sluice")
        .with_filter(filter)
        .with_cluster(clusters::HTTP, clusters.http_port())
        .with_cluster(clusters::GRPC, clusters.grpc_port())
        .with_cluster(clusters::REFUSED, unused_port())
        .changed("clusters", move |all| {
            for cluster in all.as_array_mut().into_iter().flatten() {
                if cluster["name"] == clusters::GRPC {
                    cluster["typed_extension_protocol_options"] = http2.clone();
                }
            }
        })
}

/// What the upstream does and has received in the row that runs.
#[derive(Default)]
struct Scripted {
    response: UpstreamResponse,
    received: Vec<Request>,
}

#[derive(Default, Clone)]
struct UpstreamResponse {
    status: u16,
    headers: Vec<(String, String)>,
    chunks: Vec<Vec<u8>>,
}

impl UpstreamResponse {
    fn new(attempt: &UpstreamAttempt<'_>) -> Self {
        let headers = attempt.headers.iter();
        Self {
            status: attempt.response_status().unwrap_or(200),
            headers: headers.map(|(name, value)| (name.to_string(), value.to_string())).collect(),
            chunks: chunks(&attempt.body),
        }
    }

    fn write(&self, request: &Request, reply: &mut Reply) {
        let mut headers = pairs(&self.headers);
        let has_length = headers.iter().any(|(name, _)| *name == "content-length");
        let is_head = request.headers.start_line.starts_with("HEAD ");
        match (has_length || is_head, self.chunks.is_empty()) {
            (true, _) => {}
            (false, true) => headers.push(("content-length", "0")),
            (false, false) => headers.push(("transfer-encoding", "chunked")),
        }
        reply.send_headers(self.status, &headers);
        for chunk in &self.chunks {
            match has_length {
                true => reply.write(chunk),
                false => reply.send_chunk(chunk),
            }
            reply.pause(20);
        }
        if !has_length && !self.chunks.is_empty() {
            reply.send_chunk(b"");
        }
    }
}

fn chunks(body: &Body<'_>) -> Vec<Vec<u8>> {
    let mut offset = 0;
    let mut all = Vec::new();
    for chunk in body {
        for _ in 0..chunk.times {
            let mut bytes = Vec::new();
            chunk.content.write_to(offset, &mut bytes);
            offset += bytes.len() as u64;
            all.push(bytes);
        }
    }
    all
}

struct Player {
    envoy: Envoy,
    clusters: Clusters,
    scripted: Arc<Mutex<Scripted>>,
    /// The number of bytes of Envoy's log that earlier rows have read.
    log: usize,
}

impl Player {
    fn play(&mut self, row: &Row) -> Observed {
        let text = SETUP.to_owned() + &row.events(0);
        let trace = Trace::parse(&row.name, &text).unwrap_or_else(|error| panic!("{error}"));
        let mut response = None;
        for event in &trace.events {
            match &event.kind {
                EventKind::Cluster { cluster, respond } => {
                    self.clusters.respond(cluster, Script::new(respond));
                }
                EventKind::Exchange(exchange) => response = self.exchange(exchange),
                _ => {}
            }
        }
        let log = self.wait_for_log(&row.log);
        let scripted = self.scripted.lock().unwrap_or_else(PoisonError::into_inner);
        Observed {
            mismatches: row.expect.mismatches(response.as_ref(), &scripted.received),
            log,
            calls: self.clusters.take_calls(),
        }
    }

    /// Sends the request of a row; returns its response, if there is one.
    fn exchange(&self, exchange: &Exchange<'_>) -> Option<Response> {
        let mut scripted = self.scripted.lock().unwrap_or_else(PoisonError::into_inner);
        scripted.received.clear();
        scripted.response = UpstreamResponse::new(&exchange.upstream[0]);
        drop(scripted);
        let request = &exchange.request;
        let text = |text: &Option<sluice_sim::trace::Text<'_>>, otherwise: &str| {
            text.as_deref().unwrap_or(otherwise).to_owned()
        };
        let authority = text(&request.authority, "localhost");
        let mut headers = vec![("host", &*authority)];
        headers.extend(request.headers.iter().map(|(name, value)| (&**name, &**value)));
        let body = chunks(&request.body);
        let has_length = headers.iter().any(|(name, _)| *name == "content-length");
        if !has_length && !body.is_empty() {
            headers.push(("transfer-encoding", "chunked"));
        }
        let mut client = Client::connect(self.envoy.port);
        client.send(&text(&request.method, "GET"), &text(&request.path, "/"), &headers);
        for chunk in &body {
            std::thread::sleep(Duration::from_millis(20));
            if has_length {
                client.try_write(chunk);
            } else {
                let mut framed = format!("{:x}\r\n", chunk.len()).into_bytes();
                framed.extend_from_slice(chunk);
                framed.extend_from_slice(b"\r\n");
                client.try_write(&framed);
            }
        }
        if !has_length && !body.is_empty() {
            client.try_write(b"0\r\n\r\n");
        }
        client.try_receive()
    }

    /// The guest's log lines of the row. Callbacks may follow the response.
    fn wait_for_log(&mut self, expected: &[String]) -> Vec<String> {
        let begin = Instant::now();
        let mut lines = Vec::new();
        while lines.len() < expected.len() && begin.elapsed() < PATIENCE {
            lines.extend(self.new_lines());
            std::thread::sleep(Duration::from_millis(5));
        }
        std::thread::sleep(SETTLE);
        lines.extend(self.new_lines());
        lines
    }

    fn new_lines(&mut self) -> Vec<String> {
        let log = self.envoy.log();
        // A line may be half written.
        let end = log.rfind('\n').map_or(0, |end| end + 1);
        let lines = log[self.log..end].lines().filter_map(guest_line).collect();
        self.log = end;
        lines
    }
}

/// The level and the text of a guest's line in Envoy's log, such as
/// `[2026-01-01 00:00:00.000][7][info][wasm] [source/…] wasm log guest guest: text`.
fn guest_line(line: &str) -> Option<String> {
    let (start, text) = line.split_once(" wasm log ")?;
    let level = start.split('[').nth(3)?.trim_end_matches(']');
    let (_, text) = text.split_once(": ")?;
    let level = if level == "warning" { "warn" } else { level };
    let line = format!("{level} {text}");
    super::is_of_guest(&line).then_some(line)
}

impl Expected {
    fn mismatches(&self, response: Option<&Response>, received: &[Request]) -> Vec<String> {
        let mut found = Mismatches::default();
        match response {
            Some(response) => {
                found.equal("status", self.status, response.status);
                found.headers("headers", &self.headers, &self.absent, &response.headers.fields);
                let body = String::from_utf8_lossy(&response.body.bytes).into_owned();
                found.equal("body", self.body.clone(), body);
                found.equal("cut", Some(self.cut), !response.body.complete);
            }
            None => found.lines.push("expected a response, found none".to_owned()),
        }
        if let Some(upstream) = &self.upstream {
            found.upstream(upstream, received);
        }
        found.lines
    }
}

#[derive(Default)]
struct Mismatches {
    lines: Vec<String>,
}

impl Mismatches {
    fn equal<T: PartialEq + std::fmt::Debug>(&mut self, field: &str, want: Option<T>, got: T) {
        if let Some(want) = want.filter(|want| *want != got) {
            self.lines.push(format!("{field}: expected {want:?}, found {got:?}"));
        }
    }

    fn headers(
        &mut self,
        field: &str,
        present: &std::collections::BTreeMap<String, Values>,
        absent: &[String],
        found: &[(String, String)],
    ) {
        let values = |wanted: &str| -> Vec<&str> {
            let named = found.iter().filter(|(name, _)| name == wanted);
            named.map(|(_, value)| value.as_str()).collect()
        };
        for (name, want) in present {
            let got = values(name);
            if got != want.all() {
                self.lines.push(format!("{field} {name}: expected {want:?}, found {got:?}"));
            }
        }
        for name in absent {
            let got = values(name);
            if !got.is_empty() {
                self.lines.push(format!("{field} {name}: expected none, found {got:?}"));
            }
        }
    }

    fn upstream(&mut self, expected: &ExpectedRequest, received: &[Request]) {
        let count = u32::try_from(received.len()).unwrap_or(u32::MAX);
        self.equal("upstream attempts", expected.attempts, count);
        let Some(request) = received.last() else { return };
        let mut fields = request.headers.fields.clone();
        let mut words = request.headers.start_line.split(' ');
        for (name, value) in [
            (":method", words.next()),
            (":path", words.next()),
            (":authority", request.header("host")),
        ] {
            fields.push((name.to_owned(), value.unwrap_or_default().to_owned()));
        }
        self.headers("upstream headers", &expected.headers, &expected.absent, &fields);
        let body = String::from_utf8_lossy(&request.body).into_owned();
        self.equal("upstream body", expected.body.clone(), body);
    }
}

/// Header fields as the servers of the harness take them.
pub(super) fn pairs(headers: &[(String, String)]) -> Vec<(&str, &str)> {
    headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}
