//! A stream: one request and its response in the host's callbacks.

use std::rc::Rc;

use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;

use super::admin::{self, Own};
use super::root::Active;
use super::{host, vm};
use crate::admin::MAX_BODY;
use crate::buffering::{ACCEL, ResponseView};
use crate::decision;
use crate::hygiene::MARKER;
use crate::metrics::{General, PerRoute};
use crate::request::RequestView;
use crate::stream::{Passage, Stream};

pub(super) struct Http {
    /// `None` before the first configuration was accepted: everything passes untouched.
    active: Option<Rc<Active>>,
    stream: Stream,
    /// The host's number for it.
    id: u32,
    /// It counts as in flight.
    counted: bool,
    /// It is a command to the admin path, whose body has not come yet.
    awaits_body: bool,
    /// The closing marker went out on its response.
    marked: bool,
    /// Its upload is held, as it was decided at first.
    held: bool,
    /// What was decided over its response.
    decided: Option<&'static str>,
}

impl Http {
    pub(super) fn new(active: Option<Rc<Active>>, id: u32) -> Self {
        Self {
            active,
            stream: Stream::default(),
            id,
            counted: false,
            awaits_body: false,
            marked: false,
            held: false,
            decided: None,
        }
    }

    fn request(&mut self, active: &Active, ended: bool) -> Action {
        let config = &active.config;
        let headers = host::request_headers();
        #[cfg(feature = "crash")]
        assert!(headers.iter().all(|(name, _)| name != "x-crash"), "a test asks for it");
        let mut request = RequestView::new(&headers);
        let connection = config.drain.as_ref().and_then(|_| host::connection_id());
        if let Some(connection) = connection {
            vm::with(|vm| vm.worker.saw(connection));
        }
        if let Some(own) = admin::own(active, &request, ended) {
            self.stream = Stream::answered(connection);
            match own {
                Own::Answer(answer) => host::reply(&answer),
                Own::AwaitBody => {
                    self.awaits_body = true;
                    vm::with(|vm| vm.waiting.begin(self.id));
                }
            }
            return Action::Pause;
        }
        let route_name =
            config.needs_route_name().then(|| host::property(&["xds", "route_name"])).flatten();
        let policy = config.needs_policy().then(route_policy).flatten();
        request.route_name = route_name.as_deref();
        request.policy = policy.as_deref();
        let effects = self.stream.request(config, &request, connection, ended);
        self.counted = true;
        self.held = self.stream.holds_request();
        vm::with(|vm| {
            let slot = active.slot(self.stream.route());
            vm.in_flight += 1;
            vm.metrics.count(slot, PerRoute::Requests);
            if effects.reply.is_some() {
                vm.metrics.count(slot, PerRoute::RequestTooLarge);
            }
            if self.held {
                vm.metrics.count(slot, PerRoute::RequestBuffered);
            }
        });
        if let Some(decision) = self.decision(active).filter(|_| active.tells) {
            host::tell(decision::FUNCTION, decision.as_bytes());
        }
        if let Some(reply) = effects.reply {
            host::reply(&reply);
            return Action::Pause;
        }
        for name in &effects.remove {
            host::set_request_header(name, None);
        }
        for (name, value) in effects.set {
            host::set_request_header(name, Some(value));
        }
        Action::Continue
    }

    /// More of a command has come, or its end; `size` bytes of it are there.
    fn command(&mut self, active: &Active, size: usize, ended: bool) {
        if let Some(answer) = admin::body(active, size, ended) {
            self.stop_waiting();
            host::reply(&answer);
        }
    }

    fn stop_waiting(&mut self) {
        if std::mem::replace(&mut self.awaits_body, false) {
            vm::with(|vm| vm.waiting.end(self.id));
        }
    }

    fn response(&mut self, active: &Active, ended: bool) {
        let config = &active.config;
        let route = self.stream.route();
        let due = self.stream.connection().is_some_and(|connection| {
            let name = route.and_then(|index| config.route_label(index));
            vm::with(|vm| vm.worker.closes(connection, name, host::now_ms))
        });
        let closing = due && (active.marks || speaks_http_1());
        let headers = self.stream.needs_response(config, closing).then(host::response_headers);
        let view = headers.as_deref().map(ResponseView::new);
        let effects = self.stream.response(config, view.as_ref(), ended, closing);
        if effects.interim {
            return;
        }
        if effects.ask_to_stream {
            host::set_response_header(ACCEL, Some("no"));
        }
        if effects.remove_marker {
            host::set_response_header(MARKER, None);
        }
        if effects.close {
            self.marked = active.marks;
            let (name, value) =
                if active.marks { (MARKER, "close") } else { ("connection", "close") };
            host::set_response_header(name, Some(value));
        }
        if effects.close || effects.hold {
            vm::with(|vm| {
                let slot = active.slot(route);
                // Whoever watches a drain by asking us must not see himself.
                if effects.close && self.counted {
                    vm.metrics.add(General::DrainClosed, 1);
                    vm.metrics.count(slot, PerRoute::DrainClosed);
                }
                if effects.hold {
                    vm.metrics.count(slot, PerRoute::Buffered);
                }
            });
        }
        let decided = decision::response(&effects);
        self.decided = Some(decided);
        if active.tells {
            host::tell(decision::FUNCTION, decided.as_bytes());
        }
    }

    /// What was decided over the request, if anybody wants to know.
    fn decision<'a>(&self, active: &'a Active) -> Option<&'a str> {
        Some(active.decisions.as_ref()?.request(self.stream.route(), self.held))
    }

    /// One call at the end of a stream, when all of it is decided, and before the proxy writes its line.
    fn log_decision(&self, active: &Active) {
        if let Some(decision) = self.decision(active).filter(|_| self.counted) {
            host::set_property(decision::PROPERTY, &decision::logged(decision, self.decided));
        }
    }
}

/// The policy that the proxy's route carries, or else its virtual host.
fn route_policy() -> Option<Vec<u8>> {
    let of = |part: &str| host::property(&["xds", part, "filter_metadata", "sluice", "policy"]);
    of("route_metadata").or_else(|| of("virtual_host_metadata"))
}

/// `connection` is a header of HTTP/1.x; later versions forbid it.
fn speaks_http_1() -> bool {
    host::property(&["request", "protocol"]).is_some_and(|protocol| protocol.starts_with(b"HTTP/1"))
}

fn action(passage: Passage) -> Action {
    match passage {
        Passage::Pass => Action::Continue,
        Passage::Hold => Action::Pause,
    }
}

impl Context for Http {}

impl HttpContext for Http {
    fn on_http_request_headers(&mut self, _: usize, ended: bool) -> Action {
        match self.active.clone() {
            Some(active) => self.request(&active, ended),
            None => Action::Continue,
        }
    }

    fn on_http_request_body(&mut self, held: usize, ended: bool) -> Action {
        let Some(active) = self.active.clone() else { return Action::Continue };
        if self.awaits_body {
            self.command(&active, held, ended);
            return Action::Pause;
        }
        action(self.stream.request_body(&active.config, held, ended))
    }

    fn on_http_request_trailers(&mut self, _: usize) -> Action {
        match self.active.clone() {
            Some(active) if self.awaits_body => {
                self.command(&active, MAX_BODY, true);
                Action::Pause
            }
            _ => Action::Continue,
        }
    }

    fn on_http_response_headers(&mut self, _: usize, ended: bool) -> Action {
        if let Some(active) = self.active.clone() {
            self.response(&active, ended);
        }
        Action::Continue
    }

    fn on_http_response_body(&mut self, held: usize, ended: bool) -> Action {
        let Some(active) = &self.active else { return Action::Continue };
        action(self.stream.response_body(&active.config, held, ended))
    }

    fn on_log(&mut self) {
        if self.marked && host::is_marked() {
            vm::with(vm::Vm::bridge_is_missing);
        }
        if let Some(active) = self.active.as_ref().filter(|active| active.config.report.access_log)
        {
            self.log_decision(active);
        }
    }
}

impl Drop for Http {
    /// However a stream ends, it is no longer in flight.
    fn drop(&mut self) {
        if self.counted {
            vm::with(|vm| vm.in_flight -= 1);
        }
        self.stop_waiting();
    }
}
