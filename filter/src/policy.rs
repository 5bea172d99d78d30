//! The policy of a route, with the defaults filled in: no decision at request time depends on where
//! a value was written.

use crate::config::{
    BufferingMode, EventName, PolicySpec, RequestBuffering, RetriesSpec, RetryOff, RetryOn,
    RetrySpec, Span,
};
use crate::drain::Bound;

/// The default of `buffering.max_bytes`: the buffer limit that Envoy recommends for edge proxies. A
/// filter cannot read the limit in force, and a body that exceeds it is lost.
pub const DEFAULT_MAX_BYTES: u64 = 32 * 1024;

/// The decisions of a route for its requests.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// Whether response bodies are buffered; `None` leaves them to the proxy and the upstream.
    pub response_buffering: Option<BufferingMode>,
    /// Whether request bodies are buffered.
    pub buffer_request: bool,
    /// The longest body that is buffered, in bytes.
    pub max_bytes: u64,
    /// The timeout of the whole request; zero switches it off, `None` leaves the proxy's own in
    /// force.
    pub request_timeout: Option<Span>,
    /// The timeout of one attempt; zero switches it off, `None` leaves the proxy's own in force.
    pub per_try_timeout: Option<Span>,
    /// The idle timeouts.
    pub idle_timeouts: IdleTimeouts,
    /// The timeouts of events.
    pub event_timeouts: EventTimeouts,
    /// The names of events that do not count as events.
    pub ignored_events: Vec<EventName>,
    /// Whether `buffering.hold_headers` is set.
    pub hold_headers: bool,
    /// When a failed attempt is retried; `None` leaves the proxy's own policy in force.
    pub retry: Option<Retry>,
    /// How long streams may last in a drain; `None` if a drain ends none of them.
    pub bound: Option<Bound>,
    /// The request headers for Envoy's router, made once because they are the same for every
    /// request.
    headers: Vec<(&'static str, String)>,
}

/// The longest that a stream can be idle in each direction; `None` is no timeout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IdleTimeouts {
    /// Without response headers or a chunk of the response body.
    pub read: Option<Span>,
    /// Without a chunk of the request body.
    pub send: Option<Span>,
}

impl IdleTimeouts {
    /// Whether there is a timeout.
    pub fn any(self) -> bool {
        self.read.or(self.send).is_some()
    }
}

/// The longest that a response can be without an event; `None` is no timeout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EventTimeouts {
    /// From the end of the request to the first event.
    pub first: Option<Span>,
    /// Between two events.
    pub gap: Option<Span>,
}

impl EventTimeouts {
    /// Whether there is a timeout.
    pub fn any(self) -> bool {
        self.first.or(self.gap).is_some()
    }
}

impl Policy {
    /// The policy of a route with the fields `own`, above `defaults`.
    ///
    /// A request timeout would cut a stream, so `buffering.response: "off"` switches it off. There
    /// are two exceptions: `timeouts.request` is written in the same place as the `off`, or it is
    /// in the route while the `off` is in the defaults.
    pub(crate) fn new(own: &PolicySpec, defaults: &PolicySpec) -> Self {
        let (own_buffering, inherited_buffering) = pair(&own.buffering, &defaults.buffering);
        let (own_timeouts, inherited_timeouts) = pair(&own.timeouts, &defaults.timeouts);
        let response_buffering = own_buffering.response.or(inherited_buffering.response);
        let own_off = own_buffering.response == Some(BufferingMode::Off);
        let request_timeout = match own_timeouts.request {
            None if own_off => None,
            own => own.or(inherited_timeouts.request),
        };
        let no_timeout = (response_buffering == Some(BufferingMode::Off)).then_some(Span::ZERO);
        let mut policy = Self {
            response_buffering,
            buffer_request: own_buffering.request.or(inherited_buffering.request)
                == Some(RequestBuffering::On),
            max_bytes: own_buffering
                .max_bytes
                .or(inherited_buffering.max_bytes)
                .map_or(DEFAULT_MAX_BYTES, |bytes| bytes.value()),
            request_timeout: request_timeout.or(no_timeout),
            per_try_timeout: own_timeouts.per_try.or(inherited_timeouts.per_try),
            idle_timeouts: IdleTimeouts {
                read: unless_zero(own_timeouts.read.or(inherited_timeouts.read)),
                send: unless_zero(own_timeouts.send.or(inherited_timeouts.send)),
            },
            event_timeouts: EventTimeouts {
                first: unless_zero(own_timeouts.first_event.or(inherited_timeouts.first_event)),
                gap: unless_zero(own_timeouts.event_gap.or(inherited_timeouts.event_gap)),
            },
            ignored_events: own_timeouts
                .ignore_events
                .or(inherited_timeouts.ignore_events)
                .map_or_else(Vec::new, |names| names.to_vec()),
            hold_headers: own_buffering.hold_headers.or(inherited_buffering.hold_headers)
                == Some(true),
            retry: own.retry.as_ref().or(defaults.retry.as_ref()).map(Retry::new),
            bound: own.drain.as_ref().or(defaults.drain.as_ref()).and_then(Bound::new),
            headers: Vec::new(),
        };
        policy.headers = policy.envoy_headers();
        policy
    }

    /// Whether a tick has to watch streams of this policy.
    pub fn watches_streams(&self) -> bool {
        self.bound.is_some() || self.idle_timeouts.any() || self.event_timeouts.any()
    }

    /// Whether response headers wait for the first event. Without a timeout, nothing would be
    /// gained.
    pub fn holds_headers(&self) -> bool {
        self.hold_headers && self.event_timeouts.first.is_some()
    }

    /// Whether an event of this name does not count.
    pub fn ignores_event(&self, name: &[u8]) -> bool {
        self.ignored_events.iter().any(|ignored| ignored.as_str().as_bytes() == name)
    }

    /// The request headers to set. Each replaces a header of that name from the client.
    pub fn request_headers(&self) -> &[(&'static str, String)] {
        &self.headers
    }

    fn envoy_headers(&self) -> Vec<(&'static str, String)> {
        let mut headers = Vec::new();
        let mut timeout = |name, timeout: Option<Span>| {
            headers.extend(timeout.map(|timeout| (name, timeout.as_millis().to_string())));
        };
        timeout("x-envoy-upstream-rq-timeout-ms", self.request_timeout);
        timeout("x-envoy-upstream-rq-per-try-timeout-ms", self.per_try_timeout);
        headers.extend(self.retry.iter().flat_map(Retry::headers));
        headers
    }
}

/// The retries of a route. Envoy adds their conditions to those of its own route; only the number
/// of attempts replaces that of its route.
#[derive(Debug, Clone, PartialEq)]
pub enum Retry {
    /// No retry, whatever the proxy's own route says.
    Off,
    /// Retries, with at least two attempts.
    On(RetriesSpec),
}

impl Retry {
    fn new(spec: &RetrySpec) -> Self {
        match spec {
            RetrySpec::On(retries) if retries.attempts.value() > 1 => Self::On(retries.clone()),
            RetrySpec::On(_) | RetrySpec::Off(_) => Self::Off,
        }
    }

    /// The number of attempts, the first included.
    pub fn attempts(&self) -> u64 {
        match self {
            Self::Off => 1,
            Self::On(retries) => retries.attempts.value(),
        }
    }

    /// The failures that are retried, in one list; `off` if none is.
    pub fn words(&self) -> String {
        match self {
            Self::Off => RetryOff::Off.word().to_owned(),
            Self::On(retries) => joined(retries.on.iter().map(|failure| failure.word())),
        }
    }

    /// The statuses that are retried, in one list.
    pub fn statuses(&self) -> Option<String> {
        let Self::On(RetriesSpec { status: Some(statuses), .. }) = self else { return None };
        Some(joined(statuses.iter().map(|status| status.value().to_string())))
    }

    fn headers(&self) -> Vec<(&'static str, String)> {
        let mut headers = Vec::new();
        if let Self::On(retries) = self {
            let (grpc, http): (Vec<RetryOn>, Vec<RetryOn>) =
                retries.on.iter().partition(|failure| is_grpc_status(**failure));
            for (name, failures) in [("x-envoy-retry-on", http), ("x-envoy-retry-grpc-on", grpc)] {
                if !failures.is_empty() {
                    headers.push((name, joined(failures.iter().map(|failure| failure.word()))));
                }
            }
            let statuses = self.statuses();
            headers.extend(statuses.map(|statuses| ("x-envoy-retriable-status-codes", statuses)));
        }
        // Envoy counts the attempts after the first.
        headers.push(("x-envoy-max-retries", (self.attempts() - 1).to_string()));
        headers
    }
}

fn joined<T: AsRef<str>>(words: impl Iterator<Item = T>) -> String {
    let mut list = String::new();
    for word in words {
        if !list.is_empty() {
            list.push(',');
        }
        list.push_str(word.as_ref());
    }
    list
}

/// Whether this is a gRPC status, which Envoy reads from a header of its own.
const fn is_grpc_status(failure: RetryOn) -> bool {
    matches!(
        failure,
        RetryOn::Cancelled
            | RetryOn::DeadlineExceeded
            | RetryOn::Internal
            | RetryOn::ResourceExhausted
            | RetryOn::Unavailable
    )
}

fn unless_zero(timeout: Option<Span>) -> Option<Span> {
    timeout.filter(|timeout| !timeout.is_zero())
}

fn pair<T: Default + Clone>(own: &Option<T>, inherited: &Option<T>) -> (T, T) {
    (own.clone().unwrap_or_default(), inherited.clone().unwrap_or_default())
}
