//! A stream: one request and its response in the host's callbacks.

mod response;
mod telling;

use std::rc::Rc;

use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;

use super::admin::{self, Own};
use super::root::Active;
use super::watch::{Streams, Watch};
use super::{host, vm};
use crate::admin::MAX_BODY;
use crate::decision;
use crate::live::Live;
use crate::metrics::PerRoute;
use crate::reason::Reason;
use crate::request::RequestView;
use crate::stream::{Passage, Stream};

pub(super) struct Http {
    /// `None` before the first configuration was accepted: everything passes untouched.
    active: Option<Rc<Active>>,
    stream: Stream,
    /// The host's number for it.
    id: u32,
    /// Those that a tick looks at, of which it may become one.
    streams: Streams,
    watch: Option<Watch>,
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
    /// Why it failed, as far as that is known.
    reason: Option<Reason>,
    /// Its response has come to its end.
    complete: bool,
    /// Both sides have left HTTP.
    tunnel: bool,
    /// What stands in place of the body that the proxy made up; empty when that was said.
    page: Option<String>,
}

impl Http {
    pub(super) fn new(active: Option<Rc<Active>>, id: u32, streams: Streams) -> Self {
        Self {
            active,
            stream: Stream::default(),
            id,
            streams,
            watch: None,
            counted: false,
            awaits_body: false,
            marked: false,
            held: false,
            decided: None,
            reason: None,
            complete: false,
            tunnel: false,
            page: None,
        }
    }

    fn request(&mut self, active: &Rc<Active>, ended: bool) -> Action {
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
        let policy = config.needs_metadata_policy().then(route_policy).flatten();
        request.route_name = route_name.as_deref();
        request.policy = policy.as_deref();
        let effects = self.stream.request(config, &request, connection, ended);
        self.counted = true;
        self.held = self.stream.holds_request();
        self.reason = effects.reply.as_ref().map(|_| Reason::BodyTooLarge);
        vm::with(|vm| {
            let slot = active.slot(self.stream.route());
            vm.in_flight += 1;
            vm.metrics.count(slot, PerRoute::Requests);
            if let Some(reason) = self.reason {
                vm.metrics.ended(slot, reason);
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
        if config.policy(self.stream.route()).watches_streams() {
            let watch = Watch::begin(&self.streams, active, &self.stream, self.id, ended);
            self.watch = Some(watch);
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
}

/// The policy that the proxy's route carries, or else its virtual host.
fn route_policy() -> Option<Vec<u8>> {
    let of = |part: &str| host::property(&["xds", part, "filter_metadata", "sluice", "policy"]);
    of("route_metadata").or_else(|| of("virtual_host_metadata"))
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
        let passage = self.stream.request_body(&active.config, held, ended);
        // Envoy begins the body of a request that asks to leave HTTP with an empty piece, long before its client may say anything.
        let moves = passage == Passage::Pass && (held > 0 || ended);
        if let Some(watch) = self.watch.as_ref().filter(|_| moves) {
            watch
                .with(|streams, slot| if ended { streams.asked(slot) } else { streams.sent(slot) });
        }
        action(passage)
    }

    fn on_http_request_trailers(&mut self, _: usize) -> Action {
        match self.active.clone() {
            Some(active) if self.awaits_body => {
                self.command(&active, MAX_BODY, true);
                Action::Pause
            }
            _ => {
                if let Some(watch) = &self.watch {
                    watch.with(Live::asked);
                }
                Action::Continue
            }
        }
    }

    fn on_http_response_headers(&mut self, _: usize, ended: bool) -> Action {
        match self.active.clone() {
            Some(active) => self.response(&active, ended),
            None => Action::Continue,
        }
    }

    fn on_http_response_body(&mut self, held: usize, ended: bool) -> Action {
        let Some(active) = self.active.clone() else { return Action::Continue };
        if let Some(page) = &mut self.page {
            host::replace_response_body(held, std::mem::take(page).as_bytes());
        }
        if self.cut(held, ended) == Passage::Hold {
            return Action::Pause;
        }
        self.complete = ended;
        if let Some(watch) = &self.watch {
            watch.with(|streams, slot| match ended {
                true => streams.completed(slot),
                false => streams.received(slot, held),
            });
        }
        action(self.stream.response_body(&active.config, held, ended))
    }

    fn on_http_response_trailers(&mut self, _: usize) -> Action {
        if self.watch.as_ref().is_some_and(Watch::is_ending) {
            return Action::Pause;
        }
        self.complete = true;
        if let Some(watch) = &self.watch {
            watch.with(Live::completed);
        }
        Action::Continue
    }

    fn on_log(&mut self) {
        if self.marked && host::is_marked() {
            vm::with(vm::Vm::bridge_is_missing);
        }
        if let Some(active) = self.active.clone() {
            self.log(&active);
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
