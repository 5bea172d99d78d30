//! Whether the filter's linear memory grows with the number of streams that it has seen: a proxy runs for months, and its streams end in
//! every way. Not a measurement of time; prints the bytes after few and after many streams.

#[expect(dead_code, reason = "not every benchmark looks at everything")]
mod worker;

use std::collections::HashSet;
use std::time::Duration;

use sluice_sim::details::flags;
use sluice_sim::{Effect, HeaderMap, ResponseDetails, StreamId};
use worker::{Worker, filter, module};

/// When the size is looked at.
const STREAMS: [u64; 2] = [10_000, 10_000_000];

/// Everything that makes the filter keep something for a stream.
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

/// Virtual time from one stream to the next.
const PACE: Duration = Duration::from_millis(5);

/// More silent streams than can begin within the limit of a second, and the `refresh` until it is noticed.
const MOST_SILENT: usize = 100;

/// What becomes of streams, in turns.
#[derive(Clone, Copy)]
enum Ending {
    /// The response is held and complete.
    Complete,
    /// The upload is held, and its response too.
    Uploaded,
    /// The filter refuses the upload.
    TooLarge,
    /// The upstream breaks off after two events.
    BrokenOff,
    /// The client has seen two events and leaves.
    Left,
    /// The proxy answers, because nobody listens.
    Refused,
    /// The upstream sends nothing until the filter answers.
    Silent,
    /// The upstream sends nothing more after its head until the filter cuts the stream.
    Stalled,
}

impl Ending {
    const ALL: [Ending; 8] = [
        Ending::Complete,
        Ending::Uploaded,
        Ending::TooLarge,
        Ending::BrokenOff,
        Ending::Left,
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
    /// Streams that the filter has still to end.
    silent: HashSet<StreamId>,
}

impl Soak {
    /// A stream with this ending, which is looked at: a soak of streams that do not end as they should shows nothing.
    fn stream(&mut self, ending: Ending) {
        let stream = self.worker.open();
        let vm = &mut self.worker.vm;
        match ending {
            Ending::Complete | Ending::Refused => {
                vm.request_headers(stream, head("GET", "/page/1", None), true);
            }
            Ending::BrokenOff | Ending::Left | Ending::Silent | Ending::Stalled => {
                vm.request_headers(stream, head("GET", "/events", None), true);
            }
            Ending::Uploaded => {
                vm.request_headers(stream, head("POST", "/page/1", Some("8")), false);
                vm.request_body(stream, b"half", false);
                vm.request_body(stream, b"half", true);
            }
            Ending::TooLarge => {
                vm.request_headers(stream, head("POST", "/page/1", Some("4097")), false);
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
            Ending::BrokenOff | Ending::Left => {
                let headers = [(":status", "200"), ("content-type", "text/event-stream")];
                vm.response_headers(stream, headers.into_iter().collect(), false);
                vm.response_body(stream, b"data: 1\n\n", false);
                vm.response_body(stream, b"data: 2\n\n", false);
                let broken = matches!(ending, Ending::BrokenOff);
                vm.response_details(stream, if broken { BROKEN_OFF } else { LEFT });
            }
            Ending::TooLarge => {}
            Ending::Silent | Ending::Stalled => {
                let begun = matches!(ending, Ending::Stalled);
                if begun {
                    vm.response_headers(stream, [(":status", "200")].into_iter().collect(), false);
                }
                self.silent.insert(stream);
                assert_eq!(self.came_out(), (1 + usize::from(begun), 0));
                assert!(self.silent.len() <= MOST_SILENT, "the filter's limit does not hold");
                return;
            }
        }
        vm.close_http(stream);
        let (parts, replies) = self.came_out();
        let expected = match ending {
            Ending::Complete | Ending::Refused => (3, 0),
            Ending::Uploaded => (4, 0),
            Ending::BrokenOff | Ending::Left => (4, 0),
            Ending::TooLarge => (2, 1),
            Ending::Silent | Ending::Stalled => unreachable!("they end in a tick"),
        };
        assert_eq!((parts, replies), expected);
    }

    /// The filter looks whose limit is up.
    fn tick(&mut self) {
        self.worker.tick();
        self.worker.vm.drain_effects(&mut self.effects);
        for effect in self.effects.drain(..) {
            if let Effect::LocalReply { stream, .. } | Effect::Reset { stream, .. } = effect {
                assert!(self.silent.remove(&stream), "a stream ended that was not silent");
                self.worker.vm.close_http(stream);
            }
        }
        // What the last callbacks gave.
        self.worker.vm.drain_effects(&mut self.effects);
        self.effects.clear();
    }

    /// How many parts of messages left the filter, and how often it answered by itself.
    fn came_out(&mut self) -> (usize, usize) {
        self.worker.vm.drain_effects(&mut self.effects);
        let (mut parts, mut replies) = (0, 0);
        for effect in self.effects.drain(..) {
            match effect {
                Effect::Request { .. } | Effect::Response { .. } => parts += 1,
                Effect::LocalReply { .. } => replies += 1,
                other => panic!("expected parts of messages and answers, got {other:?}"),
            }
        }
        (parts, replies)
    }
}

const REFUSED: &str = "upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}";

const BROKEN_OFF: ResponseDetails = ResponseDetails::new(
    "upstream_reset_after_response_started{protocol_error}",
    flags::UPSTREAM_PROTOCOL_ERROR,
);

const LEFT: ResponseDetails =
    ResponseDetails::new("downstream_remote_disconnect", flags::CLIENT_CLOSED);

fn head(method: &str, path: &str, length: Option<&str>) -> HeaderMap {
    let fields = [
        (":method", method),
        (":path", path),
        (":authority", "www.example.com"),
        ("accept", "text/html"),
    ];
    let length = length.map(|length| ("content-length", length));
    fields.into_iter().chain(length).collect()
}
