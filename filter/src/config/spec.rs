//! The configuration as it is written: one type for each JSON object, with the fields it may have. What the words mean
//! together (defaults, inheritance) is decided one step later, in [`Policy`](crate::policy::Policy).

use serde::Serialize;

use super::error::{ConfigError, Problem};
use super::json::Node;
use super::read::{Fields, OneOrMore, Place, Read, record, words};
use super::scalar::{
    Attempts, DrainStatus, Epoch, ForeignName, HeaderName, HeaderText, HostName, HostPattern,
    MaxBytes, MediaType, Method, PageText, PathText, Pattern, Percent, RouteName, StoreKey,
    TokenHash, Version,
};
use super::span::{Interval, Refresh, Span, Timeout, Window};

record! {
    /// The whole document.
    pub struct ConfigSpec {
        required {
            /// The version of this format: 1.
            version: Version,
        }
        optional {
            /// What holds where a route says nothing, and for requests that no route matches.
            defaults: PolicySpec,
            /// Tried in order; the first whose every condition holds wins.
            routes: Vec<RouteSpec>,
            /// Taking part in drains; without it the filter never closes a connection.
            drain: DrainSpec,
            /// The path that answers a load balancer's health check while the proxy terminates.
            health: HealthSpec,
            /// What clients read when the filter or the proxy answers in the upstream's place.
            errors: ErrorsSpec,
            /// Where the filter says what it decided.
            report: ReportSpec,
        }
    }
}

record! {
    /// What a route may decide, as defaults.
    #[derive(Default)]
    pub struct PolicySpec {
        required {}
        optional {
            /// Whether bodies are held or streamed.
            buffering: BufferingSpec,
            /// How long things may take.
            timeouts: TimeoutsSpec,
            /// When a failed try is repeated.
            retry: RetrySpec,
            /// What a drain does to a response that does not end by itself; wait when missing.
            drain: OnDrain,
        }
    }
}

record! {
    /// A route: for which requests, and what then.
    pub struct RouteSpec {
        required {
            /// Its name, in metrics, in reports and in drains.
            name: RouteName,
        }
        optional {
            /// The conditions, which must all hold; none: any request.
            r#match: MatchSpec,
            /// Whether bodies are held or streamed.
            buffering: BufferingSpec,
            /// How long things may take.
            timeouts: TimeoutsSpec,
            /// When a failed try is repeated.
            retry: RetrySpec,
            /// What a drain does to a response that does not end by itself; wait when missing.
            drain: OnDrain,
        }
    }
}

record! {
    /// The conditions of a route.
    #[derive(Default)]
    pub struct MatchSpec {
        required {}
        optional {
            /// The request's host is one of these; its port does not matter.
            hosts: OneOrMore<HostPattern>,
            /// The request's path, without its query.
            path: PathCondition,
            /// The request's method is one of these.
            methods: OneOrMore<Method>,
            /// Each of these holds.
            headers: OneOrMore<HeaderCondition>,
            /// The name of the route that the control plane chose.
            route_name: ForeignName,
            /// The name that the proxy route's metadata carries under sluice as policy.
            policy: ForeignName,
        }
    }
}

/// What a path must be.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum PathCondition {
    /// Exactly this.
    Exact(PathText),
    /// Begins with this.
    Prefix(PathText),
    /// As a whole described by this.
    Regex(Pattern),
}

impl Read for PathCondition {
    const EXPECTED: &'static str = "an object with exact, prefix or regex";

    fn read(node: &Node, at: &Place<'_>) -> Result<Self, ConfigError> {
        const KNOWN: &[&str] = &["exact", "prefix", "regex"];
        let fields = Fields::of(node, at, KNOWN, &[])?;
        exactly_one(&fields, at, KNOWN)?;
        if let Some(path) = fields.optional("exact")? {
            return Ok(Self::Exact(path));
        }
        if let Some(path) = fields.optional("prefix")? {
            return Ok(Self::Prefix(path));
        }
        fields.required("regex").map(Self::Regex)
    }
}

/// What a header field of the request must be. A field that occurs several times meets a condition when one of its values does.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct HeaderCondition {
    /// The field's name.
    pub name: HeaderName,
    /// What its value must be.
    #[serde(flatten)]
    pub value: ValueCondition,
}

/// What the value of a header field must be.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum ValueCondition {
    /// Exactly this.
    Exact(HeaderText),
    /// Begins with this.
    Prefix(HeaderText),
    /// Contains this.
    Contains(HeaderText),
    /// As a whole described by this.
    Regex(Pattern),
    /// `true`: the field is there, whatever its value; `false`: it is not.
    Present(bool),
}

impl Read for HeaderCondition {
    const EXPECTED: &'static str = "an object with name and a condition";

    fn read(node: &Node, at: &Place<'_>) -> Result<Self, ConfigError> {
        const CONDITIONS: &[&str] = &["exact", "prefix", "contains", "regex", "present"];
        const KNOWN: &[&str] = &["name", "exact", "prefix", "contains", "regex", "present"];
        let fields = Fields::of(node, at, KNOWN, &[])?;
        let name = fields.required("name")?;
        exactly_one(&fields, at, CONDITIONS)?;
        let value = if let Some(text) = fields.optional("exact")? {
            ValueCondition::Exact(text)
        } else if let Some(text) = fields.optional("prefix")? {
            ValueCondition::Prefix(text)
        } else if let Some(text) = fields.optional("contains")? {
            ValueCondition::Contains(text)
        } else if let Some(pattern) = fields.optional("regex")? {
            ValueCondition::Regex(pattern)
        } else {
            ValueCondition::Present(fields.required("present")?)
        };
        Ok(Self { name, value })
    }
}

fn exactly_one(
    fields: &Fields<'_, '_>,
    at: &Place<'_>,
    known: &'static [&'static str],
) -> Result<(), ConfigError> {
    match fields.count(known) {
        1 => Ok(()),
        found => at.refuse(Problem::NotExactlyOne { found, known }),
    }
}

words! {
    /// Whether response bodies are held or streamed.
    pub enum BufferingMode {
        /// Held when they are known to fit.
        On = "on",
        /// Never held, and the hops in front are asked not to hold them either.
        Off = "off",
        /// Held when they fit and do not look like a stream.
        Auto = "auto",
    }
}

words! {
    /// Whether request bodies are held.
    pub enum RequestBuffering {
        /// Held when they are known to fit; a longer declared length is answered with 413.
        On = "on",
        /// Streamed.
        Off = "off",
    }
}

record! {
    /// Whether bodies are held or streamed. A word alone, such as "off", stands for the response.
    #[derive(Default)]
    #[cfg_attr(feature = "schema", schemars(transform = super::schema::or_response_mode))]
    pub struct BufferingSpec {
        required {}
        optional {
            /// The response body.
            response: BufferingMode,
            /// The request body.
            request: RequestBuffering,
            /// The largest body that is held, in bytes.
            max_bytes: MaxBytes,
        }
    }
    word response
}

record! {
    /// How long things may take. 0s switches a limit off; a missing one leaves the host's own.
    #[derive(Default)]
    pub struct TimeoutsSpec {
        required {}
        optional {
            /// The whole request, from its end to the end of the response, all tries included.
            request: Span,
            /// One try, up to the head of its response.
            per_try: Span,
            /// The longest wait for a piece of the response, its head included.
            read: Span,
            /// The longest wait between two pieces of the request on their way to the upstream.
            send: Span,
        }
        not_ours {
            connect: "a filter cannot limit how long connecting takes; set connect_timeout on the cluster",
        }
    }
}

words! {
    /// What a drain does to a response that does not end by itself: an event stream, or lines of JSON.
    pub enum OnDrain {
        /// It keeps its connection until it ends.
        Wait = "wait",
        /// It is cut between two events or lines once its connection's moment has come, so that the client reconnects elsewhere.
        Cut = "cut",
    }
}

record! {
    /// When a failed try is repeated.
    pub struct RetrySpec {
        required {
            /// What counts as a failure worth another try.
            on: OneOrMore<RetryOn>,
            /// How often a request is tried in all.
            attempts: Attempts,
        }
        optional {}
    }
}

words! {
    /// What counts as a failure worth another try, in Envoy's words. `retriable-status-codes` and `retriable-headers` are not
    /// among them, because they mean nothing without a list.
    pub enum RetryOn {
        /// Any 5xx, or no response at all.
        ServerError = "5xx",
        /// 502, 503 or 504.
        GatewayError = "gateway-error",
        /// The upstream did not answer: it closed, was reset, or a try took too long.
        Reset = "reset",
        /// The upstream closed before the request was sent.
        ResetBeforeRequest = "reset-before-request",
        /// No connection to the upstream.
        ConnectFailure = "connect-failure",
        /// The upstream refused the stream.
        RefusedStream = "refused-stream",
        /// 409.
        Retriable4xx = "retriable-4xx",
        /// The rate limit service said no.
        EnvoyRatelimited = "envoy-ratelimited",
        /// HTTP/3 failed after connecting.
        Http3PostConnectFailure = "http3-post-connect-failure",
        /// gRPC status cancelled.
        Cancelled = "cancelled",
        /// gRPC status deadline exceeded.
        DeadlineExceeded = "deadline-exceeded",
        /// gRPC status internal.
        Internal = "internal",
        /// gRPC status resource exhausted.
        ResourceExhausted = "resource-exhausted",
        /// gRPC status unavailable.
        Unavailable = "unavailable",
    }
}

impl RetryOn {
    /// Whether this is a status of gRPC, which Envoy takes in a header of its own.
    pub(crate) const fn is_grpc(self) -> bool {
        matches!(
            self,
            Self::Cancelled
                | Self::DeadlineExceeded
                | Self::Internal
                | Self::ResourceExhausted
                | Self::Unavailable
        )
    }
}

record! {
    /// Taking part in drains.
    pub struct DrainSpec {
        required {}
        optional {
            /// A drain that this configuration asks for.
            state: DrainStateSpec,
            /// How often a worker looks at the drain record and reports its metrics; 250ms when missing.
            refresh: Refresh,
            /// How the proxy is told to close a connection; auto when missing.
            signal: Signal,
            /// A key in a key-value store that holds the drain of the whole fleet.
            control: ControlSpec,
            /// A path by which an operator sees and changes the drain of this process.
            admin: AdminSpec,
        }
    }
}

record! {
    /// A key in a key-value store that holds the drain of the whole fleet. One worker of the process asks for it.
    pub struct ControlSpec {
        required {
            /// The proxy's cluster that leads to the store.
            cluster: ForeignName,
            /// What kind of store it is.
            format: StoreFormat,
            /// The key; for raw the path.
            key: StoreKey,
        }
        optional {
            /// How often the store is asked while it answers; 1s when missing.
            interval: Interval,
            /// How long an answer may take; 500ms when missing.
            timeout: Timeout,
            /// The host that requests to the store name; the cluster's name when missing and fit for it.
            authority: HostName,
        }
    }
}

words! {
    /// What kind of store holds the drain.
    pub enum StoreFormat {
        /// The body of the answer to a GET of the key as a path is the record.
        Raw = "raw",
        /// etcd's JSON gateway, from etcd 3.4 on.
        EtcdV3 = "etcd-v3",
        /// Consul's key-value store.
        Consul = "consul",
    }
}

record! {
    /// A path by which an operator sees and changes the drain of this process.
    pub struct AdminSpec {
        required {
            /// The path, compared without the query.
            path: PathText,
            /// The SHA-256 of the bearer token, in hexadecimal digits.
            token_sha256: TokenHash,
        }
        optional {}
    }
}

words! {
    /// How the proxy is told to close a connection.
    pub enum Signal {
        /// `marker` under Envoy, `header` elsewhere.
        Auto = "auto",
        /// The response header `x-sluice-drain: close`, which the drain bridge carries out and removes.
        Marker = "marker",
        /// `connection: close` on HTTP/1.x, nothing on later versions, where it is forbidden.
        Header = "header",
    }
}

words! {
    /// What a drain closes.
    pub enum DrainMode {
        /// The connections that existed when it began.
        Reload = "reload",
        /// Every connection, new ones too.
        Terminate = "terminate",
        /// A share of the connections that existed when it began.
        Rebalance = "rebalance",
        /// Nothing: it ends the drain before.
        Off = "off",
    }
}

record! {
    /// A drain that a configuration asks for.
    pub struct DrainStateSpec {
        required {
            /// Its number; it takes effect when it is higher than the one in force.
            epoch: Epoch,
            /// What it closes.
            mode: DrainMode,
        }
        optional {
            /// The time over which the closes spread. Missing: 30s for reload and rebalance, at once for terminate.
            window: Window,
            /// The share that a rebalance closes, in percent.
            percent: Percent,
            /// Only responses of these routes close a connection; missing: all.
            routes: OneOrMore<RouteName>,
        }
    }
}

record! {
    /// The path that answers a load balancer's health check while the proxy terminates.
    pub struct HealthSpec {
        required {
            /// The path, compared without the query.
            path: PathText,
        }
        optional {
            /// The status of that answer; 503 when missing.
            drain_status: DrainStatus,
            /// Whether the filter answers with 200 at other times too, instead of the upstream.
            local: bool,
        }
    }
}

record! {
    /// What clients read when the filter or the proxy answers in the upstream's place: the body of its errors.
    pub struct ErrorsSpec {
        required {}
        optional {
            /// The content type of the body.
            content_type: MediaType,
            /// The body.
            body: PageText,
            /// Other forms of it, of which the client's accept chooses.
            alternatives: OneOrMore<PageSpec>,
        }
    }
}

record! {
    /// One form of an error body.
    pub struct PageSpec {
        required {
            /// Its content type.
            content_type: MediaType,
            /// The body.
            body: PageText,
        }
        optional {}
    }
}

record! {
    /// Where the filter says what it decided.
    #[derive(Default)]
    pub struct ReportSpec {
        required {}
        optional {
            /// In the stream's property `sluice.decision`, which an access log can print; false when missing.
            access_log: bool,
            /// In the response header `x-sluice-decision`; false when missing.
            header: bool,
        }
    }
}
