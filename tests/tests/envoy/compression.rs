//! Compressors and event streams: the statements of `docs/compression.md`, run with the
//! configuration blocks of that page.

use std::fs;
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use flate2::Compression;
use flate2::write::{GzDecoder, GzEncoder};
use serde_json::{Value, json};
use sluice_tests::envoy::{Bootstrap, Envoy};
use sluice_tests::http1::{Client, Response};
use sluice_tests::root;
use sluice_tests::upstream::{Reply, Request, Upstream};

const EVENTS: usize = 4;

/// The compressor's position in the filter chain; responses run through the chain backwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    CompressorFirst,
    FilterFirst,
}

const ORDERS: [Order; 2] = [Order::CompressorFirst, Order::FilterFirst];

/// The YAML list with this name from the page; each list has its own block.
fn documented(list: &str) -> Vec<Value> {
    let text = fs::read_to_string(root().join("docs/compression.md")).expect("the page exists");
    let (_, block) =
        text.split_once(&format!("\n```yaml\n{list}:\n")).expect("the page has this block");
    let (items, _) = block.split_once("\n```\n").expect("a block has an end");
    serde_saphyr::from_str(items).expect("a list")
}

/// The compressor of the page, with this library and these content types.
fn compressor(library: &str, types: &Value) -> Value {
    let mut filter = documented("http_filters").remove(0);
    let name = library[..1].to_uppercase() + &library[1..];
    filter["typed_config"]["compressor_library"] = json!({ "name": library, "typed_config": {
        "@type": format!("type.googleapis.com/envoy.extensions.compression.{library}.compressor.v3.{name}") } });
    let direction = &mut filter["typed_config"]["response_direction_config"];
    direction["common_config"]["content_type"] = types.clone();
    filter
}

/// A compressor for every content type of the service.
fn of_all(library: &str) -> Value {
    compressor(library, &json!(["text/event-stream", "application/x-ndjson", "application/json"]))
}

/// An upstream that sends events, behind a proxy that compresses.
struct Service {
    envoy: Envoy,
    upstream: Upstream,
    sent: Arc<Mutex<Vec<Instant>>>,
}

impl Service {
    fn start(order: Order, compressor: &Value) -> Self {
        Self::with_routes(order, compressor, &[])
    }

    /// Starts the proxy with these routes before its own.
    fn with_routes(order: Order, compressor: &Value, before: &[Value]) -> Self {
        let configuration = json!({ "version": 1, "routes": [
            { "name": "held", "match": { "path": { "prefix": "/held" } }, "buffering": "on" },
            { "name": "streams", "buffering": "off" },
        ] });
        let sent = Arc::new(Mutex::new(Vec::new()));
        let noted = sent.clone();
        let upstream = Upstream::start(move |request, reply| events(request, reply, &noted));
        let bootstrap = Bootstrap::example("static", upstream.port)
            .configured(&configuration)
            .changed("http_filters", |filters| {
                let place = usize::from(order == Order::FilterFirst);
                filters.as_array_mut().expect("a list").insert(place, compressor.clone());
            })
            .changed("routes", |routes| {
                routes.as_array_mut().expect("a list").splice(..0, before.iter().cloned());
            });
        Self { envoy: Envoy::start(bootstrap), upstream, sent }
    }

    fn get(&self, path: &str, accepted: &str) -> Received {
        self.sent.lock().expect("no thread panics while it holds the lock").clear();
        let mut client = Client::connect(self.envoy.port);
        client.send("GET", path, &[("accept-encoding", accepted)]);
        let response = client.receive();
        assert!(response.body.complete, "{path}");
        let coding = response.header("content-encoding").map(str::to_owned);
        let sent = self.sent.lock().expect("no thread panics while it holds the lock").clone();
        assert_eq!(sent.len(), EVENTS, "{path}");
        Received { response, sent, coding }
    }
}

/// A response as a client received it, and the times at which the upstream sent its events.
struct Received {
    response: Response,
    sent: Vec<Instant>,
    coding: Option<String>,
}

impl Received {
    /// The number of events of a plain or gzip stream that were readable before the upstream sent
    /// the next one. Every event must be readable at the end.
    fn in_time(&self) -> usize {
        assert_eq!(self.readable(self.response.body.bytes.len()), text(EVENTS));
        self.count_events(|number, bytes| self.readable(bytes) == text(number + 1))
    }

    /// As `in_time`, for codings that this test cannot decode: the number of events after which any
    /// bytes arrived before the next one.
    fn something_in_time(&self) -> usize {
        let mut before = 0;
        self.count_events(|_, bytes| bytes > std::mem::replace(&mut before, bytes))
    }

    /// The number of events, without the last one, after which `satisfied` holds for the received
    /// bytes.
    fn count_events(&self, mut satisfied: impl FnMut(usize, usize) -> bool) -> usize {
        let chunks = &self.response.body.arrivals;
        let there =
            |moment| chunks.iter().filter(|(at, _)| *at < moment).map(|(_, bytes)| bytes).sum();
        let moments = self.sent[1..].iter().enumerate();
        moments.filter(|(number, next)| satisfied(*number, there(**next))).count()
    }

    /// The text that a client can decode from the first `bytes` bytes of the body.
    fn readable(&self, bytes: usize) -> String {
        let bytes = &self.response.body.bytes[..bytes];
        let plain = match self.coding.as_deref() {
            Some("gzip") => {
                let mut decoder = GzDecoder::new(Vec::new());
                decoder.write_all(bytes).expect("gzip");
                decoder.flush().expect("gzip");
                decoder.get_ref().clone()
            }
            other => {
                assert_eq!(other, None, "this test reads gzip alone");
                bytes.to_vec()
            }
        };
        String::from_utf8(plain).expect("text")
    }
}

/// The first `count` events; the content type does not matter.
fn text(count: usize) -> String {
    (0..count).map(|number| format!("data: {{\"number\": {number}}}\n\n")).collect()
}

/// Sends events with the content type at the end of the path. `/squeezed` compresses on request and
/// flushes only at the end, `/held` declares a length, `/kept` forbids transformations.
fn events(request: &Request, reply: &mut Reply, sent: &Mutex<Vec<Instant>>) {
    let path = request.path();
    let kind = match path.rsplit('/').next() {
        Some("lines") => "application/x-ndjson",
        Some("json") => "application/json",
        _ => "text/event-stream; charset=utf-8",
    };
    let squeezed =
        path.starts_with("/squeezed") && request.header("accept-encoding") == Some("gzip");
    let length = text(EVENTS).len().to_string();
    let mut headers = vec![("content-type", kind)];
    headers.push(match path.starts_with("/held") {
        true => ("content-length", length.as_str()),
        false => ("transfer-encoding", "chunked"),
    });
    if path.starts_with("/kept") {
        headers.push(("cache-control", "no-transform"));
    }
    if squeezed {
        headers.push(("content-encoding", "gzip"));
    }
    reply.send_headers(200, &headers);
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    for number in 0..EVENTS {
        sent.lock().expect("no thread panics while it holds the lock").push(Instant::now());
        let event = text(number + 1).split_off(text(number).len()).into_bytes();
        match (squeezed, path.starts_with("/held")) {
            (true, _) => encoder.write_all(&event).expect("memory"),
            (false, true) => reply.write(&event),
            (false, false) => reply.send_chunk(&event),
        }
        reply.pause(200);
    }
    if squeezed {
        reply.send_chunk(&encoder.finish().expect("memory"));
    }
    if !path.starts_with("/held") {
        reply.send_chunk(b"");
    }
}

#[test]
fn gzip_and_brotli_flush_each_event() {
    for order in ORDERS {
        let gzip = Service::start(order, &of_all("gzip"));
        let brotli = Service::start(order, &of_all("brotli"));
        for kind in ["/events", "/lines", "/json"] {
            let seen = gzip.get(kind, "gzip");
            assert_eq!(
                (seen.coding.as_deref(), seen.in_time()),
                (Some("gzip"), EVENTS - 1),
                "{order:?} {kind}"
            );
            let seen = brotli.get(kind, "br");
            assert_eq!(
                (seen.coding.as_deref(), seen.something_in_time()),
                (Some("br"), EVENTS - 1),
                "{order:?} {kind}"
            );
        }
    }
}

#[test]
fn zstd_delays_a_stream_to_its_end_and_a_route_can_disable_it() {
    for order in ORDERS {
        let service = Service::with_routes(order, &of_all("zstd"), &documented("routes"));
        for kind in ["/lines", "/json"] {
            let seen = service.get(kind, "zstd");
            assert_eq!(
                (seen.coding.as_deref(), seen.something_in_time()),
                (Some("zstd"), 0),
                "{order:?} {kind}"
            );
        }
        let seen = service.get("/events", "zstd");
        assert_eq!((seen.coding.as_deref(), seen.in_time()), (None, EVENTS - 1), "{order:?}");
    }
}

#[test]
fn event_streams_are_not_compressed_without_a_content_type_list() {
    let service = Service::start(Order::CompressorFirst, &compressor("gzip", &json!([])));
    for (kind, coding) in [("/events", None), ("/lines", None), ("/json", Some("gzip"))] {
        let seen = service.get(kind, "gzip");
        assert_eq!((seen.coding.as_deref(), seen.in_time()), (coding, EVENTS - 1), "{kind}");
    }
}

#[test]
fn removing_accept_encoding_stops_an_upstream_that_compresses_and_delays() {
    let mut unrequested = documented("routes").remove(0);
    unrequested["match"]["prefix"] = json!("/squeezed/unrequested");
    let compresses =
        unrequested.as_object_mut().expect("a route").remove("typed_per_filter_config");
    assert!(compresses.is_some());
    let mut filter = documented("http_filters").remove(0);
    for order in ORDERS {
        let service = Service::with_routes(order, &filter, std::slice::from_ref(&unrequested));
        assert_eq!(service.get("/squeezed/events", "gzip").in_time(), 0, "{order:?}");
        let seen = service.get("/squeezed/unrequested/events", "gzip");
        assert_eq!(
            (seen.coding.as_deref(), seen.in_time()),
            (Some("gzip"), EVENTS - 1),
            "{order:?}"
        );
        let request = service.upstream.requests("/squeezed/unrequested/events").remove(0);
        assert_eq!(request.header("accept-encoding"), None, "{order:?}");
    }
    filter["typed_config"]["response_direction_config"]["remove_accept_encoding_header"] =
        json!(true);
    let service = Service::start(Order::CompressorFirst, &filter);
    let seen = service.get("/squeezed/events", "gzip");
    assert_eq!((seen.coding.as_deref(), seen.in_time()), (Some("gzip"), EVENTS - 1));
}

#[test]
fn no_transform_prevents_compression() {
    for order in ORDERS {
        let service = Service::start(order, &of_all("zstd"));
        let seen = service.get("/kept/events", "zstd");
        assert_eq!((seen.coding.as_deref(), seen.in_time()), (None, EVENTS - 1), "{order:?}");
    }
}

#[test]
fn a_body_is_buffered_only_if_the_filter_runs_before_the_compressor() {
    for (order, in_time) in [(Order::CompressorFirst, 0), (Order::FilterFirst, EVENTS - 1)] {
        let seen = Service::start(order, &of_all("gzip")).get("/held/json", "gzip");
        assert_eq!((seen.coding.as_deref(), seen.in_time()), (Some("gzip"), in_time), "{order:?}");
    }
}
