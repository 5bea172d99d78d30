//! The events of a trace: actions of operators, clients, upstreams and other plugins, with their
//! times.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, Error};
use serde_json::value::RawValue;

use super::body::Body;
use super::data::Data;
use super::expect::{ConfigureExpect, Expect};
use super::list::list;
use super::text::{Text, duration};

/// An event of a trace. `X` is the form of an exchange: borrowed from the text of the trace, or
/// [owned](super::OwnedExchange).
#[derive(Debug)]
#[non_exhaustive]
pub struct Event<'a, X = Box<Exchange<'a>>> {
    /// The line in the file, counted from 1.
    pub line: u32,
    /// The time since the start of the trace.
    pub at: Duration,
    pub kind: EventKind<'a, X>,
}

/// The action of an event.
#[derive(Debug)]
#[non_exhaustive]
pub enum EventKind<'a, X = Box<Exchange<'a>>> {
    /// The control plane pushes a plugin configuration.
    Configure {
        /// The text of the configuration, as the plugin reads it.
        configuration: Cow<'a, str>,
        /// Without an expectation, the plugin should accept it and not crash.
        expect: ConfigureExpect<'a>,
    },
    /// A client opens a connection.
    Open { connection: ConnectionIndex, name: Text<'a>, open: Open<'a> },
    /// A client sends a request.
    Exchange(X),
    /// Another plugin of the process writes shared data without a compare-and-swap.
    SharedData(SharedData<'a>),
    /// Later calls of the plugin to a cluster get this response.
    Cluster { cluster: Text<'a>, respond: Box<ClusterResponse<'a>> },
    /// A connection is closed.
    Close { connection: ConnectionIndex, by: Close },
    /// The clock of the proxy is set to this time since the Unix epoch, forwards or backwards.
    Clock(Duration),
    /// A worker does not tick for a while, as if its event loop were blocked.
    Stall {
        /// The worker, counted from 0.
        worker: u32,
        duration: Duration,
    },
    /// The expected values of metrics; `None` for a metric that should not exist.
    Metrics(BTreeMap<Text<'a>, Option<u64>>),
}

/// A connection of a trace, by its first use: an index into
/// [`Trace::connections`](super::Trace::connections).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionIndex(pub usize);

/// The properties of a connection that a client opens.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
#[non_exhaustive]
pub struct Open<'a> {
    #[serde(default)]
    pub protocol: Protocol,
    /// The worker that serves the connection, counted from 0. If it is absent, the seed decides.
    pub worker: Option<u32>,
    /// The property `connection.id`; the next free number if it is absent.
    pub id: Option<u64>,
    /// The address and port of the client.
    #[serde(borrow)]
    pub source: Option<Text<'a>>,
}

/// The HTTP version of a client's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub enum Protocol {
    /// HTTP/1.0. The connection closes after one exchange, unless the client keeps it.
    #[serde(rename = "HTTP/1.0")]
    Http10,
    /// HTTP/1.1, which has one exchange at a time: a request waits until the previous one ends.
    #[default]
    #[serde(rename = "HTTP/1.1")]
    Http1,
    /// HTTP/2, with concurrent exchanges.
    #[serde(rename = "HTTP/2")]
    Http2,
    /// HTTP/3, which looks like HTTP/2 to a filter.
    #[serde(rename = "HTTP/3")]
    Http3,
}

impl Protocol {
    /// The value of the property `request.protocol`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http1 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
            Self::Http3 => "HTTP/3",
        }
    }

    /// Whether a connection carries several exchanges at the same time.
    pub fn multiplexes(self) -> bool {
        !matches!(self, Self::Http10 | Self::Http1)
    }
}

/// A request, the behavior of the upstream, and the expected outcome.
#[derive(Debug)]
#[non_exhaustive]
pub struct Exchange<'a> {
    /// The name in reports, unique in the trace.
    pub id: Text<'a>,
    pub connection: ConnectionIndex,
    /// The name of the connection. Without one, the connection carries this exchange only, and
    /// closes with it.
    pub connection_name: Option<Text<'a>>,
    pub request: Request<'a>,
    /// The behavior of the upstream in each attempt; the last entry repeats.
    pub upstream: Vec<UpstreamAttempt<'a>>,
    pub expect: Option<Expect<'a>>,
}

impl Exchange<'_> {
    /// The name of the connection, or that of the exchange if the connection has none.
    pub fn connection_name(&self) -> &str {
        self.connection_name.as_ref().unwrap_or(&self.id)
    }
}

/// Header fields in order; names may repeat.
pub type Headers<'a> = Vec<(Text<'a>, Text<'a>)>;

/// A client's request.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
#[non_exhaustive]
pub struct Request<'a> {
    /// `GET` if absent.
    #[serde(borrow)]
    pub method: Option<Text<'a>>,
    /// `http` if absent.
    #[serde(borrow)]
    pub scheme: Option<Text<'a>>,
    /// The host, with the port if the client sends one; `localhost` if absent.
    #[serde(borrow)]
    pub authority: Option<Text<'a>>,
    /// The path with its query; `/` if absent.
    #[serde(borrow)]
    pub path: Option<Text<'a>>,
    /// The headers after the pseudo-headers.
    #[serde(borrow, default, deserialize_with = "list")]
    pub headers: Headers<'a>,
    /// A request without chunks has no body.
    #[serde(borrow, default, deserialize_with = "list")]
    pub body: Body<'a>,
    #[serde(borrow, default, deserialize_with = "list")]
    pub trailers: Headers<'a>,
    /// The route that the proxy's configuration selects, property `xds.route_name`.
    #[serde(borrow)]
    pub route_name: Option<Text<'a>>,
    /// The filter metadata of that route: `{"sluice":{"policy":"logs"}}` sets the property
    /// `xds.route_metadata.filter_metadata.sluice.policy`.
    #[serde(borrow, default)]
    pub route_metadata: BTreeMap<Text<'a>, BTreeMap<Text<'a>, Text<'a>>>,
}

impl Request<'_> {
    /// The protocol to which the headers request an HTTP/1.1 upgrade (RFC 9110, section 7.8). The
    /// bytes after such headers are not a body and have no end.
    ///
    /// `h2c` is not such a protocol: as in Envoy, it is ignored.
    pub fn upgrade(&self) -> Option<&str> {
        let protocol = self.header("upgrade")?;
        let upgrades =
            self.has_connection_option("upgrade") && !protocol.eq_ignore_ascii_case("h2c");
        upgrades.then_some(protocol)
    }

    /// Whether the headers request an upgrade.
    pub fn is_upgrade(&self) -> bool {
        self.upgrade().is_some()
    }

    /// Whether a `connection` header has this option, such as `close`.
    pub fn has_connection_option(&self, option: &str) -> bool {
        self.headers.iter().any(|(name, value)| {
            name.eq_ignore_ascii_case("connection")
                && value.split(',').any(|word| word.trim().eq_ignore_ascii_case(option))
        })
    }

    fn header(&self, wanted: &str) -> Option<&str> {
        let header = self.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
        header.map(|(_, value)| &**value)
    }
}

/// The behavior of the upstream in one attempt.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
#[non_exhaustive]
pub struct UpstreamAttempt<'a> {
    /// The time from the end of the request to the response headers, or to the end of an attempt
    /// without a response.
    #[serde(default, deserialize_with = "duration")]
    pub after: Duration,
    /// The status of the response. If it is absent, it is 200 for an attempt that ends with
    /// [`AttemptEnd::Complete`], and there is no response for any other.
    pub status: Option<u16>,
    #[serde(borrow, default, deserialize_with = "list")]
    pub headers: Headers<'a>,
    /// A response without chunks ends with its headers.
    #[serde(borrow, default, deserialize_with = "list")]
    pub body: Body<'a>,
    #[serde(borrow, default, deserialize_with = "list")]
    pub trailers: Headers<'a>,
    #[serde(default)]
    pub end: AttemptEnd,
}

impl UpstreamAttempt<'_> {
    /// The status of the response, or `None` if the attempt ends without a response.
    pub fn response_status(&self) -> Option<u16> {
        self.status.or((self.end == AttemptEnd::Complete).then_some(200))
    }
}

/// How an attempt ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttemptEnd {
    /// The response is complete.
    #[default]
    Complete,
    /// The upstream resets the connection, before the response headers if there is no status.
    Reset,
    /// The upstream closes the connection in the middle of a header.
    ResetInHeader,
    /// The upstream sends nothing more and leaves the connection open.
    Never,
    /// The upstream refuses the connection.
    Refused,
    /// The upstream refuses the stream before it processes it, as with HTTP/2's `REFUSED_STREAM`.
    RefusedStream,
}

/// A write to shared data.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
#[non_exhaustive]
pub struct SharedData<'a> {
    #[serde(borrow)]
    pub key: Text<'a>,
    /// A string as its contents, any other JSON value as its text.
    #[serde(borrow, deserialize_with = "raw_or_text")]
    pub value: Cow<'a, str>,
}

/// The response of a cluster to calls of the plugin.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
#[non_exhaustive]
pub struct ClusterResponse<'a> {
    /// The time from the call to the response.
    #[serde(default, deserialize_with = "duration")]
    pub after: Duration,
    /// 200 if absent.
    pub status: Option<u16>,
    #[serde(borrow, default, deserialize_with = "list")]
    pub headers: Headers<'a>,
    #[serde(borrow)]
    pub body: Option<Data<'a>>,
    /// The messages of a gRPC response, which follow the body.
    #[serde(borrow)]
    pub messages: Option<Vec<Data<'a>>>,
    /// If absent, a gRPC response with `messages` and without a `grpc-status` in its headers ends
    /// with `grpc-status: 0`.
    #[serde(borrow)]
    pub trailers: Option<Headers<'a>>,
    /// `never` is a call that times out, after the headers if there is a status.
    #[serde(default)]
    pub end: AttemptEnd,
}

/// The peer that closes a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Close {
    /// The client, which also aborts the exchanges in flight.
    Client,
}

/// Deserializes a string as its contents and any other JSON value as its text, so that a plugin
/// configuration does not have to be JSON.
pub(super) fn raw_or_text<'de: 'a, 'a, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Cow<'a, str>, D::Error> {
    let raw = <&RawValue>::deserialize(deserializer)?.get();
    if raw.starts_with('"') {
        return serde_json::from_str::<Text>(raw).map(|text| text.0).map_err(D::Error::custom);
    }
    Ok(Cow::Borrowed(raw))
}
