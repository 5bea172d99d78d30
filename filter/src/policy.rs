//! What a route decides, with the defaults filled in: a [`Policy`] is complete, so that nothing at request time asks where a value
//! came from.

use crate::config::span::Span;
use crate::config::spec::{BufferingMode, OnDrain, PolicySpec, RequestBuffering, RetrySpec};
use crate::live::Limits;

/// Bodies up to this are held unless the configuration says otherwise: Envoy's advice for the buffers of edge proxies, and no
/// filter can read the real limit (holding more than it loses the body).
pub const DEFAULT_MAX_BYTES: u64 = 32 * 1024;

/// What holds for a request, from its route and the defaults.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// What happens to the response body; `None` leaves it to the host and says nothing to anybody.
    pub response: Option<BufferingMode>,
    /// Whether the request body is held.
    pub hold_request: bool,
    /// The largest body that is held, in bytes.
    pub max_bytes: u64,
    /// The limit of the whole request; zero is no limit, `None` the host's own.
    pub request: Option<Span>,
    /// The limit of one try; zero is no limit, `None` the host's own.
    pub per_try: Option<Span>,
    /// How long a stream may stay idle.
    pub limits: Limits,
    /// When a failed try is repeated; `None` leaves it to the host.
    pub retry: Option<RetrySpec>,
    /// Whether a drain cuts a response that does not end by itself.
    pub cut: bool,
    /// The request headers that tell Envoy so, made once here because they are the same for every request.
    headers: Vec<(&'static str, String)>,
}

impl Policy {
    /// What holds for a route that says `own`, above `defaults`.
    ///
    /// A route that streams (`off`) and has no `timeouts.request` of its own gets no limit: a limit over the whole request cuts
    /// streams. "Its own" is one that stands where the `off` stands, or nearer.
    pub(crate) fn new(own: &PolicySpec, defaults: &PolicySpec) -> Self {
        let (own_buffering, inherited_buffering) = pair(&own.buffering, &defaults.buffering);
        let (own_timeouts, inherited_timeouts) = pair(&own.timeouts, &defaults.timeouts);
        let response = own_buffering.response.or(inherited_buffering.response);
        let streams_by_itself = own_buffering.response == Some(BufferingMode::Off);
        let request = match own_timeouts.request {
            None if streams_by_itself => None,
            own => own.or(inherited_timeouts.request),
        };
        let no_limit = (response == Some(BufferingMode::Off)).then_some(Span::from_millis(0));
        let mut policy = Self {
            response,
            hold_request: own_buffering.request.or(inherited_buffering.request)
                == Some(RequestBuffering::On),
            max_bytes: own_buffering
                .max_bytes
                .or(inherited_buffering.max_bytes)
                .map_or(DEFAULT_MAX_BYTES, |bytes| bytes.value()),
            request: request.or(no_limit),
            per_try: own_timeouts.per_try.or(inherited_timeouts.per_try),
            limits: Limits {
                read: limit(own_timeouts.read.or(inherited_timeouts.read)),
                send: limit(own_timeouts.send.or(inherited_timeouts.send)),
            },
            retry: own.retry.clone().or_else(|| defaults.retry.clone()),
            cut: own.drain.or(defaults.drain) == Some(OnDrain::Cut),
            headers: Vec::new(),
        };
        policy.headers = policy.envoy_headers();
        policy
    }

    /// Whether a tick has to look at streams under this policy.
    pub fn watches(&self) -> bool {
        self.cut || self.limits.any()
    }

    /// The request headers to set, each replacing whatever the client sent under that name.
    pub fn request_headers(&self) -> &[(&'static str, String)] {
        &self.headers
    }

    fn envoy_headers(&self) -> Vec<(&'static str, String)> {
        let mut headers = Vec::new();
        if let Some(limit) = self.request {
            headers.push(("x-envoy-upstream-rq-timeout-ms", limit.as_millis().to_string()));
        }
        if let Some(limit) = self.per_try {
            headers.push(("x-envoy-upstream-rq-per-try-timeout-ms", limit.as_millis().to_string()));
        }
        if let Some(retry) = &self.retry {
            let words = |grpc: bool| {
                let words = retry.on.iter().filter(|on| on.is_grpc() == grpc).map(|on| on.word());
                words.collect::<Vec<_>>().join(",")
            };
            let lists =
                [("x-envoy-retry-on", words(false)), ("x-envoy-retry-grpc-on", words(true))];
            headers.extend(lists.into_iter().filter(|(_, words)| !words.is_empty()));
            // Envoy counts what comes after the first try.
            headers.push(("x-envoy-max-retries", (retry.attempts.value() - 1).to_string()));
        }
        headers
    }

    /// The failures that are worth another try, in one list.
    pub fn retry_on(&self) -> Option<String> {
        let retry = self.retry.as_ref()?;
        Some(retry.on.iter().map(|on| on.word()).collect::<Vec<_>>().join(","))
    }
}

/// Zero is no limit.
fn limit(span: Option<Span>) -> Option<Span> {
    span.filter(|span| span.as_millis() > 0)
}

fn pair<T: Default + Clone>(own: &Option<T>, inherited: &Option<T>) -> (T, T) {
    (own.clone().unwrap_or_default(), inherited.clone().unwrap_or_default())
}
