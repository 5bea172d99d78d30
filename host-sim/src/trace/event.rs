//! The events of a trace: what an operator, a client, an upstream or another plugin does, and when.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::body::{Body, Chunk};
use super::expect::{ConfigureExpect, Expect};
use super::text::{Span, Text};

/// A line of a trace.
#[derive(Debug)]
pub struct Event<'a> {
    /// The line it stands on, from 1.
    pub line: u32,
    /// When it happens, from the start of the trace.
    pub at: Duration,
    /// What happens.
    pub kind: Kind<'a>,
}

/// What happens in an event.
#[derive(Debug)]
pub enum Kind<'a> {
    /// The control plane pushes a plugin configuration.
    Configure {
        /// The configuration's text, as the plugin gets it.
        configuration: Cow<'a, str>,
        /// What should come of it; without an expectation it should be accepted.
        expect: ConfigureExpect,
    },
    /// A client opens a connection.
    Open {
        /// The connection.
        connection: ConnectionIndex,
        /// Its properties.
        open: Open<'a>,
    },
    /// A client sends a request.
    Exchange(Box<Exchange<'a>>),
    /// Another plugin of the same process writes shared data, whatever stood there before.
    SharedData(SharedData<'a>),
    /// From now on, calls of the plugin to this cluster get this answer.
    Cluster {
        /// The cluster that the plugin calls.
        cluster: Text<'a>,
        /// What it answers.
        respond: Box<Respond<'a>>,
    },
    /// A connection is closed.
    Close {
        /// The connection.
        connection: ConnectionIndex,
        /// By whom.
        by: Close,
    },
    /// The proxy's clock is set, to this time since the Unix epoch: forwards or backwards, as clocks of machines are.
    Clock(Duration),
    /// A worker does not tick for this long, as one whose event loop is busy.
    Stall {
        /// The worker, from 0.
        worker: u32,
        /// How long.
        span: Duration,
    },
    /// The plugin's metrics are looked at; each should have this value, 0 if it does not exist.
    Metrics(BTreeMap<Text<'a>, u64>),
}

/// A connection of a trace: an index into [`Trace::connections`](super::Trace::connections).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionIndex(pub usize);

/// How a connection is opened.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Open<'a> {
    /// The protocol, as the property `request.protocol` has it.
    #[serde(default)]
    pub protocol: Protocol,
    /// The worker that serves the connection, from 0; without it the seed decides.
    pub worker: Option<u32>,
    /// Its number in the proxy, property `connection.id`; without it the next one.
    pub id: Option<u64>,
    /// The client's address and port.
    #[serde(borrow)]
    pub source: Option<Text<'a>>,
}

/// The HTTP version of a client's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub enum Protocol {
    /// HTTP/1.1: one exchange at a time; a request that comes early waits for the one before it.
    #[default]
    #[serde(rename = "HTTP/1.1")]
    Http1,
    /// HTTP/2: exchanges side by side.
    #[serde(rename = "HTTP/2")]
    Http2,
    /// HTTP/3, which a filter sees like HTTP/2.
    #[serde(rename = "HTTP/3")]
    Http3,
}

impl Protocol {
    /// The name that the property `request.protocol` has.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http1 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
            Self::Http3 => "HTTP/3",
        }
    }

    /// Whether exchanges share the connection at the same time.
    pub fn multiplexes(self) -> bool {
        self != Self::Http1
    }
}

/// A request, what the upstream makes of it, and what should come of it.
#[derive(Debug)]
pub struct Exchange<'a> {
    /// The exchange's name in reports.
    pub id: Text<'a>,
    /// The connection that carries it.
    pub connection: ConnectionIndex,
    /// Whether the connection is this exchange's own and ends with it.
    pub own_connection: bool,
    /// What the client sends.
    pub request: Request<'a>,
    /// What the upstream does, an entry for each attempt; the last one stands for all further ones.
    pub upstream: Vec<Upstream<'a>>,
    /// What should come of it.
    pub expect: Option<Expect<'a>>,
}

/// Header fields in order; names may repeat.
pub type Headers<'a> = Vec<(Text<'a>, Text<'a>)>;

/// What a client sends.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request<'a> {
    /// The method; `GET` without one.
    #[serde(borrow)]
    pub method: Option<Text<'a>>,
    /// The scheme; `http` without one.
    #[serde(borrow)]
    pub scheme: Option<Text<'a>>,
    /// The host, with a port if the client names it; `localhost` without one.
    #[serde(borrow)]
    pub authority: Option<Text<'a>>,
    /// The path with its query; `/` without one.
    #[serde(borrow)]
    pub path: Option<Text<'a>>,
    /// The headers behind these.
    #[serde(borrow, default)]
    pub headers: Headers<'a>,
    /// The body; none at all if it has no chunks.
    #[serde(borrow, default)]
    pub body: Body<'a>,
    /// The trailers.
    #[serde(borrow, default)]
    pub trailers: Headers<'a>,
    /// The name of the route that the proxy's own configuration chose, property `xds.route_name`.
    #[serde(borrow)]
    pub route_name: Option<Text<'a>>,
    /// The route's metadata for filters: `{"sluice":{"policy":"logs"}}` is what the property
    /// `xds.route_metadata.filter_metadata.sluice.policy` reads from.
    #[serde(borrow, default)]
    pub route_metadata: BTreeMap<Text<'a>, BTreeMap<Text<'a>, Text<'a>>>,
}

impl Request<'_> {
    /// Whether the client asks to leave HTTP, in the way of HTTP/1.1. What it sends after the head is no body then, and
    /// has no end of its own.
    pub fn asks_for_upgrade(&self) -> bool {
        let is = |name: &str, other: &str| name.eq_ignore_ascii_case(other);
        let named = self.headers.iter().any(|(name, _)| is(name, "upgrade"));
        named
            && self.headers.iter().any(|(name, value)| {
                is(name, "connection") && value.split(',').any(|word| is(word.trim(), "upgrade"))
            })
    }
}

/// What the upstream does with one attempt.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Upstream<'a> {
    /// The pause between the end of the request and the response's headers, or the end if it has none.
    #[serde(default, deserialize_with = "span")]
    pub after: Duration,
    /// The response's status; without one there is a response of status 200 unless `end` says that
    /// there is none.
    pub status: Option<u16>,
    /// The response's headers.
    #[serde(borrow, default)]
    pub headers: Headers<'a>,
    /// The response's body; the response ends with its headers if it has no chunks.
    #[serde(borrow, default)]
    pub body: Body<'a>,
    /// The response's trailers.
    #[serde(borrow, default)]
    pub trailers: Headers<'a>,
    /// How the attempt ends.
    #[serde(default)]
    pub end: End,
}

impl Upstream<'_> {
    /// The status of the attempt's response, or `None` if it ends before there is one.
    pub fn response_status(&self) -> Option<u16> {
        self.status.or((self.end == End::Complete).then_some(200))
    }
}

/// How an attempt of the upstream ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// The response is complete.
    #[default]
    Complete,
    /// The upstream resets the connection after what it sent; before any header if there is no status.
    Reset,
    /// The upstream closes the connection in the middle of a header: what came is no response.
    ResetInHeader,
    /// The upstream sends nothing more and leaves the connection open.
    Never,
    /// The connection is refused.
    Refused,
    /// The stream is refused before it was processed, HTTP/2's `REFUSED_STREAM`.
    RefusedStream,
}

/// A write to shared data.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SharedData<'a> {
    /// The key.
    #[serde(borrow)]
    pub key: Text<'a>,
    /// The value; anything but a string is written as its JSON text.
    #[serde(borrow, deserialize_with = "raw_or_text")]
    pub value: Cow<'a, str>,
}

/// What a cluster answers to the plugin's own calls.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Respond<'a> {
    /// The pause between call and answer.
    #[serde(default, deserialize_with = "span")]
    pub after: Duration,
    /// The answer's status; 200 without one.
    pub status: Option<u16>,
    /// The answer's headers.
    #[serde(borrow, default)]
    pub headers: Headers<'a>,
    /// The answer's body.
    #[serde(borrow)]
    pub body: Option<Text<'a>>,
    /// The answer's trailers.
    #[serde(borrow, default)]
    pub trailers: Headers<'a>,
    /// How the call ends: `complete`, `reset`, `refused`, or `never` for one that times out.
    #[serde(default)]
    pub end: End,
}

/// Who closes a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Close {
    /// The client; exchanges that are under way are aborted.
    Client,
}

/// A line as it stands in the file, before it is known which event it is.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an event, which is a JSON object")]
pub(super) struct Line<'a> {
    #[serde(deserialize_with = "span")]
    pub(super) at: Duration,
    #[serde(borrow)]
    pub(super) id: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) connection: Option<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "some_raw_or_text")]
    pub(super) configure: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) open: Option<Open<'a>>,
    #[serde(borrow)]
    pub(super) request: Option<Request<'a>>,
    #[serde(borrow, default, deserialize_with = "one_or_many")]
    pub(super) upstream: Option<Vec<Upstream<'a>>>,
    #[serde(borrow)]
    pub(super) expect: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) shared_data: Option<SharedData<'a>>,
    #[serde(borrow)]
    pub(super) cluster: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) respond: Option<Box<Respond<'a>>>,
    pub(super) close: Option<Close>,
    pub(super) clock: Option<Span>,
    pub(super) worker: Option<u32>,
    pub(super) stall: Option<Span>,
    #[serde(borrow)]
    pub(super) metrics: Option<BTreeMap<Text<'a>, u64>>,
}

fn span<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    Span::deserialize(deserializer).map(|span| span.0)
}

/// A JSON value as its text; a string as what it contains, so that a plugin's configuration need not
/// be JSON.
fn raw_or_text<'de: 'a, 'a, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Cow<'a, str>, D::Error> {
    let raw = <&RawValue>::deserialize(deserializer)?.get();
    if raw.starts_with('"') {
        return serde_json::from_str::<Text>(raw).map(|text| text.0).map_err(D::Error::custom);
    }
    Ok(Cow::Borrowed(raw))
}

fn some_raw_or_text<'de: 'a, 'a, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Cow<'a, str>>, D::Error> {
    raw_or_text(deserializer).map(Some)
}

/// One attempt, or a list of them.
fn one_or_many<'de: 'a, 'a, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<Upstream<'a>>>, D::Error> {
    struct Attempts;
    impl<'de> Visitor<'de> for Attempts {
        type Value = Vec<Upstream<'de>>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("what the upstream does, or a list of that with an entry for each attempt")
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
            Upstream::deserialize(MapAccessDeserializer::new(map)).map(|one| vec![one])
        }

        fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
            let attempts = Vec::<Upstream>::deserialize(SeqAccessDeserializer::new(seq))?;
            if attempts.is_empty() {
                return Err(A::Error::custom("the list is empty; expected at least one attempt"));
            }
            Ok(attempts)
        }
    }
    deserializer.deserialize_any(Attempts).map(Some)
}

/// The length of a body in bytes.
pub fn body_len(body: &[Chunk<'_>]) -> u64 {
    body.iter().map(|chunk| chunk.content.len() as u64 * u64::from(chunk.times)).sum()
}

/// Whether a body has an empty chunk, which no HTTP message can carry.
pub(super) fn has_empty_chunk(body: &[Chunk<'_>]) -> bool {
    body.iter().any(|chunk| chunk.content.is_empty())
}

pub(super) fn parse_expect(raw: &RawValue) -> Result<Expect<'_>, super::check::FieldError> {
    super::check::json(raw.get())
}
