//! Whether the filter's linear memory grows with the number of streams that have ended. A proxy
//! runs for months, and its streams end in every way. This does not measure time; it prints the
//! size after few and after many streams.

#[expect(dead_code, reason = "not every benchmark uses every method")]
mod worker;

use std::collections::HashSet;
use std::time::Duration;

use sluice_sim::details::flags;
use sluice_sim::{Effect, HeaderMap, ResponseDetails, StreamId};
use worker::{Worker, filter, module};

/// The numbers of streams after which the size is read.
const STREAMS: [u64; 2] = [10_000, 10_000_000];

/// Enables every feature that keeps state for a stream.
const CONFIGURATION: &str = r#"{
    "version": 1,
    "routes": [
        { "name": "page", "match": { "path": { "prefix": "/page" } },
          "buffering": { "request": "on", "response": "on", "max_bytes": 4096 }, "timeouts": { "request": "5s" } },
        { "name": "events", "match": { "path": { "prefix": "/events" } }, "buffering": "off",
          "timeouts": { "read": "1s", "send": "1s" } }
    ],
    "errors": { "content_type": "application/json", "body": "{\"error\":\"{reason}\",\"status\":{status}}" },
    "drain": { "refresh": "250ms" },
    "report": { "access_log": true }
}"#;

/// The virtual time between two streams.
const PACE: Duration = Duration::from_millis(5);

/// More than the number of silent streams that can start within the timeout of a second and the
/// `refresh` after it.
const MAX_SILENT: usize = 100;

/// How a stream ends. The streams take turns.
#[derive(Clone, Copy)]
enum Ending {
    /// The buffered response completes.
    Complete,
    /// The buffered upload and the buffered response complete.
    Uploaded,
    /// The filter rejects the upload.
    TooLarge,
    /// The upstream cuts the response after two events.
    CutByUpstream,
    /// The client closes its connection after two events.
    ClosedByClient,
    /// The proxy sends a local reply, because the upstream refuses the connection.
    Refused,
    /// The upstream sends nothing until the filter replies.
    Silent,
    /// The upstream stops after its headers until the filter cuts the stream.
    Stalled,
}

impl Ending {
    const ALL: [Ending; 8] = [
        Ending::Complete,
        Ending::Uploaded,
        Ending::TooLarge,
        Ending::CutByUpstream,
        Ending::ClosedByClient,
        Ending::Refused,
        Ending::Silent,
        Ending::Stalled,
    ];
}

fn main() {
    let mut soak = Soak {
        worker: Worker::new(&module(&filter()), CONFIGURATION),
        effects: Vec::new(),
        silent: HashSet::new(),
    };
    let mut next_tick = Duration::ZERO;
    for number in 1..=STREAMS[1] {
        soak.stream(Ending::ALL[number as usize % Ending::ALL.len()]);
        let now = PACE * number as u32;
        soak.worker.process.set_now(now);
        if now >= next_tick {
            soak.tick();
            next_tick = now + soak.worker.tick_period();
        }
        if STREAMS.contains(&number) {
            println!("bytes/{number} {}", soak.worker.vm.memory_bytes());
        }
    }
}

struct Soak {
    worker: Worker,
    effects: Vec<Effect>,
    /// The streams that the filter has not ended yet.
    silent: HashSet<StreamId>,
}

impl Soak {
    /// Runs a stream and checks its ending. A test with streams that end in another way would show
    /// nothing.
    fn stream(&mut self, ending: Ending) {
        let stream = self.worker.open();
        let vm = &mut self.worker.vm;
        match ending {
            Ending::Complete | Ending::Refused => {
                vm.request_headers(stream, request_headers("GET", "/page/1", None), true);
            }
            Ending::CutByUpstream | Ending::ClosedByClient | Ending::Silent | Ending::Stalled => {
                vm.request_headers(stream, request_headers("GET", "/events", None), true);
            }
            Ending::Uploaded => {
                vm.request_headers(stream, request_headers("POST", "/page/1", Some("8")), false);
                vm.request_body(stream, b"half", false);
                vm.request_body(stream, b"half", true);
            }
            Ending::TooLarge => {
                vm.request_headers(stream, request_headers("POST", "/page/1", Some("4097")), false);
            }
        }
        match ending {
            Ending::Complete | Ending::Uploaded => {
                let headers = [(":status", "200"), ("content-length", "4")];
                vm.response_headers(stream, headers.into_iter().collect(), false);
                vm.response_body(stream, b"fine", true);
            }
            Ending::Refused => {
                vm.response_details(stream, ResponseDetails::new(REFUSED, flags::CONNECT_FAILURE));
                let headers = [(":status", "503"), ("content-length", "4")];
                vm.response_headers(stream, headers.into_iter().collect(), false);
                vm.response_body(stream, b"away", true);
            }
            Ending::CutByUpstream | Ending::ClosedByClient => {
                let headers = [(":status", "200"), ("content-type", "text/event-stream")];
                vm.response_headers(stream, headers.into_iter().collect(), false);
                vm.response_body(stream, b"data: 1\n\n", false);
                vm.response_body(stream, b"data: 2\n\n", false);
                let cut = matches!(ending, Ending::CutByUpstream);
                vm.response_details(stream, if cut { CUT } else { CLIENT_DISCONNECT });
            }
            Ending::TooLarge => {}
            Ending::Silent | Ending::Stalled => {
                let started = matches!(ending, Ending::Stalled);
                if started {
                    vm.response_headers(stream, [(":status", "200")].into_iter().collect(), false);
                }
                self.silent.insert(stream);
                assert_eq!(self.count_effects(), (1 + usize::from(started), 0));
                assert!(self.silent.len() <= MAX_SILENT, "the filter did not end silent streams");
                return;
            }
        }
        vm.close_http(stream);
        let (parts, replies) = self.count_effects();
        let expected = match ending {
            Ending::Complete | Ending::Refused => (3, 0),
            Ending::Uploaded => (4, 0),
            Ending::CutByUpstream | Ending::ClosedByClient => (4, 0),
            Ending::TooLarge => (2, 1),
            Ending::Silent | Ending::Stalled => unreachable!("these streams end in a tick"),
        };
        assert_eq!((parts, replies), expected);
    }

    /// Ticks, so that the filter ends the streams that have timed out.
    fn tick(&mut self) {
        self.worker.tick();
        self.worker.vm.drain_effects(&mut self.effects);
        for effect in self.effects.drain(..) {
            if let Effect::LocalReply { stream, .. } | Effect::Reset { stream, .. } = effect {
                assert!(self.silent.remove(&stream), "a stream ended that was not silent");
                self.worker.vm.close_http(stream);
            }
        }
        // Drops the effects of the last callbacks.
        self.worker.vm.drain_effects(&mut self.effects);
        self.effects.clear();
    }

    /// The number of message parts that left the filter, and the number of its local replies.
    fn count_effects(&mut self) -> (usize, usize) {
        self.worker.vm.drain_effects(&mut self.effects);
        let (mut parts, mut replies) = (0, 0);
        for effect in self.effects.drain(..) {
            match effect {
                Effect::Request { .. } | Effect::Response { .. } => parts += 1,
                Effect::LocalReply { .. } => replies += 1,
                other => panic!("expected message parts and local replies, got {other:?}"),
            }
        }
        (parts, replies)
    }
}

const REFUSED: &str = "upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}";

const CUT: ResponseDetails = ResponseDetails::new(
    "upstream_reset_after_response_started{protocol_error}",
    flags::UPSTREAM_PROTOCOL_ERROR,
);

const CLIENT_DISCONNECT: ResponseDetails =
    ResponseDetails::new("downstream_remote_disconnect", flags::CLIENT_CLOSED);

fn request_headers(method: &str, path: &str, length: Option<&str>) -> HeaderMap {
    let fields = [
        (":method", method),
        (":path", path),
        (":authority", "www.example.com"),
        ("accept", "text/html"),
    ];
    let length = length.map(|length| ("content-length", length));
    fields.into_iter().chain(length).collect()
}
