//! One request and its response, from the filter's first sight of it to its end: what to do at each step.
//!
//! A [`Stream`] keeps only what later steps need, because hosts forget the request by the time the response comes. It is a few
//! dozen bytes, and goes with the stream.

use crate::buffering::{self, RequestBody, ResponseView};
use crate::config::Config;
use crate::config::spec::BufferingMode;
use crate::hygiene;
use crate::request::RequestView;

/// What the filter remembers of a stream.
#[derive(Debug, Clone, Default)]
pub struct Stream {
    route: Option<u32>,
    /// The client's connection, when the configuration takes part in drains.
    connection: Option<u64>,
    connect: bool,
    head: bool,
    /// The filter answered by itself: nothing of the policy applies to its own answer.
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
    pub reply: Option<Reply>,
}

/// An answer by the filter itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The `content-type` of the body.
    pub content_type: &'static str,
    /// The body.
    pub body: String,
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

    /// Whether the request body is held.
    pub fn holds_request(&self) -> bool {
        self.request == Body::Held
    }

    /// The request head has come. `ended` says that no body follows.
    pub fn request<'c>(
        &mut self,
        config: &'c Config,
        request: &RequestView<'_>,
        connection: Option<u64>,
        ended: bool,
    ) -> RequestEffects<'c> {
        let route = config.route(request);
        *self = Self {
            route: route.and_then(|index| u32::try_from(index).ok()),
            connection,
            connect: request.method == b"CONNECT",
            head: request.method == b"HEAD",
            ..Self::default()
        };
        let policy = config.policy(route);
        let set = policy.request_headers();
        let remove = if request.oversteps { overstepping(request, set) } else { Vec::new() };
        let reply = match buffering::request(policy, request, ended) {
            RequestBody::Stream => None,
            RequestBody::Hold => {
                self.request = Body::Held;
                None
            }
            RequestBody::TooLarge { declared } => {
                self.answered = true;
                Some(too_large(declared, policy.max_bytes))
            }
        };
        RequestEffects { set, remove, reply }
    }

    /// A piece of the request body, or its end, has come; `held` bytes are there now.
    pub fn request_body(&mut self, config: &Config, held: usize, ended: bool) -> Passage {
        let max = config.policy(self.route()).max_bytes;
        self.request.piece(max, held, ended)
    }

    /// A piece of the response body, or its end, has come; `held` bytes are there now.
    pub fn response_body(&mut self, config: &Config, held: usize, ended: bool) -> Passage {
        let max = config.policy(self.route()).max_bytes;
        self.response.piece(max, held, ended)
    }

    /// Whether the rules need to see the response head. `closing` says that the connection is due.
    pub fn needs_response(&self, config: &Config, closing: bool) -> bool {
        let mode = config.policy(self.route()).response;
        closing || (!self.answered && matches!(mode, Some(BufferingMode::On | BufferingMode::Auto)))
    }

    /// The response head has come. `response` is there if [`needs_response`](Self::needs_response) asked for it.
    pub fn response(
        &mut self,
        config: &Config,
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
                buffering::holds_response(policy, response, self.head || self.connect || ended)
            });
        self.response = if hold { Body::Held } else { Body::Streams };
        ResponseEffects {
            interim: false,
            ask_to_stream: !self.answered && policy.response == Some(BufferingMode::Off),
            // Without a look at the head, removing what is not there costs less than asking.
            remove_marker: config.drain.is_some()
                && response.is_none_or(|response| response.marked),
            close,
            hold,
        }
    }

    /// Whether the exchange ends with this response: a tunnel or an upgraded connection has only begun.
    fn completes(&self, response: &ResponseView<'_>) -> bool {
        let tunnel = self.connect && (200..300).contains(&response.status);
        response.status >= 200 && !tunnel
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

fn too_large(declared: u64, limit: u64) -> Reply {
    Reply {
        status: 413,
        content_type: "text/plain",
        body: format!("the request body has {declared} bytes; at most {limit} are accepted here\n"),
    }
}
