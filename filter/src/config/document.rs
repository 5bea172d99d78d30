//! The whole document, and the sections that decide about requests.

use super::drain::{DrainSpec, HealthSpec};
use super::duration::LingeringTime;
use super::error::{ConfigError, Problem};
use super::json::{Node, parse_json};
use super::matching::MatchSpec;
use super::read::{OneOrMore, Place, Read, record, words};
use super::scalar::{
    Attempts, CloseCode, EventName, LastEvent, MaxBytes, MediaType, PageText, RestBytes,
    RetriedStatus, RouteName, Version,
};
use super::span::Span;

/// The longest document that is read, in bytes: room for some 50,000 routes.
pub const MAX_DOCUMENT: usize = 8 * 1024 * 1024;

record! {
    /// The whole document.
    pub struct Document {
        required {
            /// The version of this format: 1.
            version: Version,
        }
        optional {
            /// The policy of requests that match no route, and of fields that a route leaves out.
            defaults: PolicySpec,
            /// The routes. The first whose conditions all match decides.
            routes: Vec<RouteSpec>,
            /// How this process takes part in drains. If absent, the filter never closes a
            /// connection.
            drain: DrainSpec,
            /// The path that a load balancer probes. It fails while the proxy terminates.
            health: HealthSpec,
            /// The bodies of error responses that the filter or the proxy creates.
            errors: ErrorsSpec,
            /// How the filter receives the rest of an upload that it has refused. If absent, it
            /// replies at once.
            lingering: LingeringSpec,
            /// Where the filter reports its decisions.
            report: ReportSpec,
        }
    }
}

impl Document {
    /// Parses a document. Rules that span several sections are not checked.
    ///
    /// # Errors
    /// The first mistake, with its place.
    pub fn parse(document: &[u8]) -> Result<Self, ConfigError> {
        let at = &Place::Root;
        if document.len() > MAX_DOCUMENT {
            return Err(Self::too_large(document.len()));
        }
        let text = match std::str::from_utf8(document) {
            Ok(text) => text,
            Err(error) => return at.refuse(Problem::NotUtf8 { at: error.valid_up_to() }),
        };
        if text.trim().is_empty() {
            return at.refuse(Problem::Empty);
        }
        let root = parse_json(text).or_else(|problem| at.refuse(problem))?;
        // The version is read first. The error for a document of a later version then names the
        // version, not a field that this version does not have.
        if let Some(version) = root.field("version") {
            Version::read(version, &Place::Field(at, "version"))?;
        }
        Self::read(&root, at).map_err(|error| match route_name(&root, &error.place) {
            Some(name) => error.in_route(name),
            None => error,
        })
    }

    /// The error for a document of `found` bytes, which is more than [`MAX_DOCUMENT`].
    pub fn too_large(found: usize) -> ConfigError {
        Place::Root.error(Problem::TooLarge { found, limit: MAX_DOCUMENT })
    }
}

/// The name of the route that contains `place`, unless the place is the name.
fn route_name<'n>(root: &'n Node, place: &str) -> Option<&'n str> {
    let (index, field) = place.strip_prefix("routes[")?.split_once(']')?;
    if field == ".name" {
        return None;
    }
    let Node::Array(routes) = root.field("routes")? else { return None };
    match routes.get(index.parse::<usize>().ok()?)?.field("name")? {
        Node::Text(name) => Some(name),
        _ => None,
    }
}

record! {
    /// The fields that a route can have, as defaults.
    #[derive(Default)]
    pub struct PolicySpec {
        required {}
        optional {
            /// Whether bodies are buffered or streamed.
            buffering: BufferingSpec,
            /// Timeouts of a request.
            timeouts: TimeoutsSpec,
            /// When a failed attempt is retried.
            retry: RetrySpec,
            /// The effect of a drain on streams; wait if absent.
            drain: StreamDrainSpec,
        }
    }
}

record! {
    /// A route: conditions, and the policy of the requests that meet them.
    pub struct RouteSpec {
        required {
            /// The route's name in metrics, reports and drains.
            name: RouteName,
        }
        optional {
            /// The conditions. All must match; if absent, every request matches.
            r#match: MatchSpec,
            /// Whether bodies are buffered or streamed.
            buffering: BufferingSpec,
            /// Timeouts of a request.
            timeouts: TimeoutsSpec,
            /// When a failed attempt is retried.
            retry: RetrySpec,
            /// The effect of a drain on streams; wait if absent.
            drain: StreamDrainSpec,
        }
    }
}

record! {
    /// How the filter receives the rest of an upload that it has refused, before it replies.
    pub struct LingeringSpec {
        required {}
        optional {
            /// The most bytes; 64 MiB if absent.
            max_bytes: RestBytes,
            /// The longest time; 30s if absent.
            timeout: LingeringTime,
        }
    }
}

words! {
    /// Whether response bodies are buffered or streamed.
    pub enum BufferingMode {
        /// Buffered if the declared length fits.
        On = "on",
        /// Streamed. A response header requests the same of the proxies in front.
        Off = "off",
        /// Buffered if the declared length fits and the content type is not one of a stream.
        Auto = "auto",
    }
}

words! {
    /// Whether request bodies are buffered or streamed.
    pub enum RequestBuffering {
        /// Buffered if the declared length fits; a longer one gets the status 413.
        On = "on",
        /// Streamed.
        Off = "off",
    }
}

record! {
    /// Whether bodies are buffered or streamed. A string, such as "off", is short for an object
    /// with `response`.
    #[derive(Default)]
    #[cfg_attr(feature = "schema", schemars(transform = or_response_mode))]
    pub struct BufferingSpec {
        required {}
        optional {
            /// The response body.
            response: BufferingMode,
            /// The request body.
            request: RequestBuffering,
            /// The longest body that is buffered, in bytes.
            max_bytes: MaxBytes,
            /// Whether response headers wait for the first event, so that timeouts.first_event can
            /// still reply; false if absent.
            hold_headers: bool,
        }
    }
    word response
}

/// Adds the short form of [`BufferingSpec`] to its schema.
#[cfg(feature = "schema")]
fn or_response_mode(schema: &mut schemars::Schema) {
    let object = std::mem::take(schema).to_value();
    *schema = schemars::json_schema!({ "anyOf": [{ "enum": BufferingMode::WORDS }, object] });
}

record! {
    /// Timeouts of a request. 0s switches a timeout off; an absent one leaves the proxy's own in
    /// force.
    #[derive(Default)]
    pub struct TimeoutsSpec {
        required {}
        optional {
            /// From the end of the request to the end of the response, all attempts included.
            request: Span,
            /// One attempt, up to the response headers.
            per_try: Span,
            /// The longest wait for response headers or a chunk of the response body.
            read: Span,
            /// The longest wait for a chunk of the request body.
            send: Span,
            /// From the end of the request to the first event of the response.
            first_event: Span,
            /// The longest wait between two events of the response.
            event_gap: Span,
            /// The names of events that do not count as events, such as ping.
            ignore_events: OneOrMore<EventName>,
        }
        misplaced {
            connect: "found a connect timeout, which a filter cannot enforce; set connect_timeout on the cluster",
        }
    }
}

record! {
    /// The effect of a drain on the streams of a route. A string, such as "cut", is short for an
    /// object with `streams`.
    #[derive(Default)]
    #[cfg_attr(feature = "schema", schemars(transform = or_streams))]
    pub struct StreamDrainSpec {
        required {}
        optional {
            /// When a stream ends.
            streams: OnDrain,
            /// With finish: how long a stream may last after its connection is due.
            within: Span,
            /// The event that an event stream sends before the filter ends it.
            last_event: LastEvent,
            /// With finish: the code of the Close frame that a WebSocket gets; 1012 if absent.
            close_code: CloseCode,
        }
    }
    word streams
    check check_fields
}

impl StreamDrainSpec {
    fn check_fields(&self, at: &Place<'_>) -> Result<(), ConfigError> {
        let at = |name| Place::Field(at, name);
        let Some(streams) = self.streams else {
            return at("streams").refuse(Problem::Missing { expected: "wait, cut or finish" });
        };
        let misplaced = |name, reason| at(name).refuse(Problem::Misplaced { reason });
        match streams {
            OnDrain::Finish if self.within.is_none() => at("within").refuse(Problem::Missing {
                expected: "how long a stream may last after its connection is due, such as \"60s\"",
            }),
            OnDrain::Wait | OnDrain::Cut if self.within.is_some() => misplaced(
                "within",
                "found with streams that have no bound; write \"streams\": \"finish\"",
            ),
            OnDrain::Wait | OnDrain::Cut if self.close_code.is_some() => misplaced(
                "close_code",
                "found with streams that end no WebSocket; write \"streams\": \"finish\"",
            ),
            OnDrain::Wait if self.last_event.is_some() => misplaced(
                "last_event",
                "found with \"streams\": \"wait\", which ends no stream; write \"cut\" or \"finish\"",
            ),
            _ => Ok(()),
        }
    }
}

/// Adds the short form of [`StreamDrainSpec`] to its schema.
#[cfg(feature = "schema")]
fn or_streams(schema: &mut schemars::Schema) {
    let object = std::mem::take(schema).to_value();
    let words = [OnDrain::Wait.word(), OnDrain::Cut.word()];
    *schema = schemars::json_schema!({ "anyOf": [{ "enum": words }, object] });
}

words! {
    /// When a drain ends a stream.
    pub enum OnDrain {
        /// Never: the stream keeps its connection until it ends.
        Wait = "wait",
        /// When its connection is due: event streams end between two events, and JSON lines between
        /// two lines. Other streams keep their connection.
        Cut = "cut",
        /// A time after its connection is due. The stream ends at a boundary if one can be seen,
        /// and otherwise a second later.
        Finish = "finish",
    }
}

/// When a failed attempt is retried.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(untagged)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum RetrySpec {
    /// Never, whatever the proxy's own route says.
    Off(RetryOff),
    /// After some failures.
    On(RetriesSpec),
}

impl Read for RetrySpec {
    const EXPECTED: &'static str = "an object, or \"off\"";

    fn read(node: &Node, at: &Place<'_>) -> Result<Self, ConfigError> {
        match node {
            Node::Text(text) if text == RetryOff::Off.word() => Ok(Self::Off(RetryOff::Off)),
            Node::Object(_) => RetriesSpec::read(node, at).map(Self::On),
            other => at.unexpected(other, Self::EXPECTED),
        }
    }
}

words! {
    /// The word that ends all retries.
    pub enum RetryOff {
        /// No retry.
        Off = "off",
    }
}

record! {
    /// The failures that are retried.
    pub struct RetriesSpec {
        required {
            /// The failures that are retried.
            on: OneOrMore<RetryOn>,
            /// The number of attempts, the first included.
            attempts: Attempts,
        }
        optional {
            /// The statuses of `retriable-status-codes`.
            status: OneOrMore<RetriedStatus>,
        }
    }
    check check_statuses
}

impl RetriesSpec {
    /// Envoy ignores statuses without their condition, and the condition without statuses.
    fn check_statuses(&self, at: &Place<'_>) -> Result<(), ConfigError> {
        let at = Place::Field(at, "status");
        match (self.on.contains(&RetryOn::RetriableStatusCodes), &self.status) {
            (true, None) => at.refuse(Problem::Missing {
                expected: "the statuses of retriable-status-codes, such as [429, 503]",
            }),
            (false, Some(_)) => at.refuse(Problem::Misplaced {
                reason: "found without the condition retriable-status-codes; add it to retry.on",
            }),
            _ => Ok(()),
        }
    }
}

words! {
    /// A failure that is retried, by Envoy's name. `retriable-headers` is missing because it has no
    /// effect without a list.
    pub enum RetryOn {
        /// Any 5xx, or no response.
        ServerError = "5xx",
        /// 502, 503 or 504.
        GatewayError = "gateway-error",
        /// The upstream sent no response: it closed, reset, or the attempt timed out.
        Reset = "reset",
        /// The upstream closed before the request was sent.
        ResetBeforeRequest = "reset-before-request",
        /// The connection to the upstream failed.
        ConnectFailure = "connect-failure",
        /// The upstream refused the stream.
        RefusedStream = "refused-stream",
        /// 409.
        Retriable4xx = "retriable-4xx",
        /// One of the statuses in `status`.
        RetriableStatusCodes = "retriable-status-codes",
        /// Envoy's rate limit filter rejected the request.
        EnvoyRatelimited = "envoy-ratelimited",
        /// HTTP/3 failed after the connection was made.
        Http3PostConnectFailure = "http3-post-connect-failure",
        /// gRPC status CANCELLED.
        Cancelled = "cancelled",
        /// gRPC status DEADLINE_EXCEEDED.
        DeadlineExceeded = "deadline-exceeded",
        /// gRPC status INTERNAL.
        Internal = "internal",
        /// gRPC status RESOURCE_EXHAUSTED.
        ResourceExhausted = "resource-exhausted",
        /// gRPC status UNAVAILABLE.
        Unavailable = "unavailable",
    }
}

record! {
    /// The bodies of error responses that the filter or the proxy creates.
    pub struct ErrorsSpec {
        required {}
        optional {
            /// The content type of the body.
            content_type: MediaType,
            /// The body.
            body: PageText,
            /// Bodies in other content types. The request's accept header selects one.
            alternatives: OneOrMore<PageSpec>,
        }
    }
}

record! {
    /// An error body in one content type.
    pub struct PageSpec {
        required {
            /// The content type.
            content_type: MediaType,
            /// The body.
            body: PageText,
        }
        optional {}
    }
}

record! {
    /// Where the filter reports its decisions.
    #[derive(Default)]
    pub struct ReportSpec {
        required {}
        optional {
            /// In the stream's property `sluice.decision`, for access logs; false if absent.
            access_log: bool,
            /// In the response header `x-sluice-decision`; false if absent.
            header: bool,
        }
    }
}
