//! One request and its response, from the filter's first sight of it to its end: what to do at each step.
//!
//! A [`Stream`] keeps only what later steps need, because hosts forget the request by the time the response comes. It is a few
//! dozen bytes, and goes with the stream.

use crate::buffering::{self, RequestBody, ResponseView};
use crate::config::BufferingMode;
use crate::cut::Framing;
use crate::error_pages::{ErrorContext, Failure};
use crate::hygiene;
use crate::live::Waits;
use crate::reason::Reason;
use crate::reply::LocalReply;
use crate::request::RequestView;
use crate::rules::Rules;

/// What the filter remembers of a stream.
#[derive(Debug, Clone, Default)]
pub struct Stream {
    route: Option<u32>,
    asker: ErrorContext,
    /// The client's connection, when the configuration takes part in drains.
    connection: Option<u64>,
    connect: bool,
    head: bool,
    /// Whether the client asks to leave HTTP, or for a tunnel.
    leaves_http: bool,
    /// The filter or the proxy answered by itself: nothing of the policy applies to that answer.
    answered: bool,
    request: Body,
    response: Body,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Body {
    #[default]
    Streams,
    Held,
}

/// Whether a piece of a body passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passage {
    /// It goes on, with everything held before.
    Pass,
    /// It stays until more comes.
    Hold,
}

/// What happens to a request head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestEffects<'c> {
    /// Request headers to set, each replacing what is there.
    pub set: &'c [(&'static str, String)],
    /// Request headers to remove.
    pub remove: Vec<String>,
    /// The answer to give instead of passing the request on.
    pub reply: Option<LocalReply>,
}

/// What happens to a response head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ResponseEffects {
    /// The response is not the final one: nothing happens, and the final one follows.
    pub interim: bool,
    /// Say `x-accel-buffering: no` to the hops in front.
    pub ask_to_stream: bool,
    /// Remove a marker that the upstream forged.
    pub remove_marker: bool,
    /// Signal that the connection closes after this response.
    pub close: bool,
    /// The body is held.
    pub hold: bool,
    /// Both directions stay open until somebody closes.
    pub tunnel: bool,
    /// A drain may cut it between two of these.
    pub cut: Option<Framing>,
}

impl Stream {
    /// The route, by its position.
    pub fn route(&self) -> Option<usize> {
        self.route.map(|index| index as usize)
    }

    /// The client's connection, if it was asked for.
    pub fn connection(&self) -> Option<u64> {
        self.connection
    }

    /// A request that the filter answers before any route is asked.
    pub fn answered(connection: Option<u64>) -> Self {
        Self { connection, answered: true, ..Self::default() }
    }

    /// The filter answers this request by itself from now on.
    pub fn answer(&mut self) {
        self.answered = true;
    }

    /// Whether no body can follow, because none was asked for.
    pub fn is_head(&self) -> bool {
        self.head
    }

    /// Whether the filter or the proxy answered in the upstream's place.
    pub fn is_answered(&self) -> bool {
        self.answered
    }

    /// What an error page needs to know of the request.
    pub fn asker(&self) -> &ErrorContext {
        &self.asker
    }

    /// What it waits for when its head has been passed on. `ended` says that no body follows.
    pub fn waits(&self, ended: bool) -> Waits {
        match self.request {
            Body::Held => Waits::ForUs,
            Body::Streams if ended || self.leaves_http => Waits::ForUpstream,
            Body::Streams => Waits::ForUpload,
        }
    }

    /// Whether the request body is held.
    pub fn holds_request(&self) -> bool {
        self.request == Body::Held
    }

    /// The request head has come. `ended` says that no body follows.
    pub fn request<'c>(
        &mut self,
        config: &'c Rules,
        request: &RequestView<'_>,
        connection: Option<u64>,
        ended: bool,
    ) -> RequestEffects<'c> {
        let route = config.match_route(request);
        *self = Self {
            route: route.and_then(|index| u32::try_from(index).ok()),
            connection,
            asker: ErrorContext::new(request, config.error_pages.as_ref()),
            connect: request.method == b"CONNECT",
            leaves_http: request.opens_tunnel,
            head: request.method == b"HEAD",
            ..Self::default()
        };
        let policy = config.policy(route);
        let set = policy.request_headers();
        let remove =
            if request.has_reserved_headers { overstepping(request, set) } else { Vec::new() };
        let reply = match buffering::request_body(policy, request, ended) {
            RequestBody::Stream => None,
            RequestBody::Buffer => {
                self.request = Body::Held;
                None
            }
            RequestBody::TooLarge { declared } => {
                let plain = || too_large(declared, policy.max_bytes);
                Some(self.fail(config, Reason::BodyTooLarge, 413, plain))
            }
        };
        RequestEffects { set, remove, reply }
    }

    /// The filter answers with an error of its own, and with `plain` where the configuration has no page for it.
    pub fn fail(
        &mut self,
        config: &Rules,
        reason: Reason,
        status: u16,
        plain: impl FnOnce() -> String,
    ) -> LocalReply {
        self.answered = true;
        config.error_reply(self.route(), &self.asker, reason, status, plain)
    }

    /// The proxy answers in the upstream's place: the page to show instead, if there is one. A client of gRPC has got what it understands.
    pub fn proxy_failed(
        &mut self,
        config: &Rules,
        reason: Reason,
        status: u16,
    ) -> Option<LocalReply> {
        self.answered = true;
        let failure = Failure { reason, status, route: config.metric_name(self.route()) };
        config.error_pages.as_ref().filter(|_| !self.asker.is_grpc)?.page(&failure, &self.asker)
    }

    /// A piece of the request body, or its end, has come; `held` bytes are there now.
    pub fn request_body(&mut self, config: &Rules, held: usize, ended: bool) -> Passage {
        let max = config.policy(self.route()).max_bytes;
        self.request.piece(max, held, ended)
    }

    /// A piece of the response body, or its end, has come; `held` bytes are there now.
    pub fn response_body(&mut self, config: &Rules, held: usize, ended: bool) -> Passage {
        let max = config.policy(self.route()).max_bytes;
        self.response.piece(max, held, ended)
    }

    /// Whether the rules need to see the response head. `closing` says that the connection is due.
    pub fn needs_response(&self, config: &Rules, closing: bool) -> bool {
        let policy = config.policy(self.route());
        let holds =
            matches!(policy.response_buffering, Some(BufferingMode::On | BufferingMode::Auto));
        let tunnels =
            self.leaves_http && (policy.idle_timeouts.any() || config.wants_failure_reason());
        closing || (!self.answered && (holds || tunnels || self.may_be_cut(config)))
    }

    fn may_be_cut(&self, config: &Rules) -> bool {
        self.connection.is_some() && config.policy(self.route()).cut_on_drain
    }

    /// The response head has come. `response` is there if [`needs_response`](Self::needs_response) asked for it.
    pub fn response(
        &mut self,
        config: &Rules,
        response: Option<&ResponseView<'_>>,
        ended: bool,
        closing: bool,
    ) -> ResponseEffects {
        if response.is_some_and(ResponseView::is_interim) {
            return ResponseEffects { interim: true, ..ResponseEffects::default() };
        }
        let policy = config.policy(self.route());
        let close = closing && response.is_some_and(|response| self.completes(response));
        let hold = !self.answered
            && response.is_some_and(|response| {
                buffering::buffers_response(policy, response, self.head || self.connect || ended)
            });
        self.response = if hold { Body::Held } else { Body::Streams };
        let cut = response.filter(|_| !self.answered && !ended && self.may_be_cut(config));
        ResponseEffects {
            interim: false,
            tunnel: response.is_some_and(|response| self.opens_tunnel(response)),
            cut: cut.and_then(buffering::framing),
            ask_to_stream: !self.answered && policy.response_buffering == Some(BufferingMode::Off),
            // Without a look at the head, removing what is not there costs less than asking.
            remove_marker: config.drain.is_some()
                && response.is_none_or(|response| response.has_drain_marker),
            close,
            hold,
        }
    }

    /// Whether the exchange ends with this response: a tunnel or an upgraded connection has only begun.
    fn completes(&self, response: &ResponseView<'_>) -> bool {
        response.status >= 200 && !self.opens_tunnel(response)
    }

    fn opens_tunnel(&self, response: &ResponseView<'_>) -> bool {
        response.status == 101 || (self.connect && (200..300).contains(&response.status))
    }
}

impl Body {
    fn piece(&mut self, max: u64, held: usize, ended: bool) -> Passage {
        // More than was declared should be impossible; holding it could lose it.
        let fits = u64::try_from(held).is_ok_and(|held| held <= max);
        if *self == Self::Held && !ended && fits {
            return Passage::Hold;
        }
        *self = Self::Streams;
        Passage::Pass
    }
}

fn overstepping(request: &RequestView<'_>, set: &[(&str, String)]) -> Vec<String> {
    let mut names = Vec::new();
    for (name, _) in request.headers.iter().filter(|(name, _)| hygiene::is_reserved(name)) {
        if !set.iter().any(|(own, _)| own == name) && !names.contains(name) {
            names.push(name.clone());
        }
    }
    names
}

fn too_large(declared: u64, limit: u64) -> String {
    format!("the request body has {declared} bytes; at most {limit} are accepted here\n")
}
