//! A stream: one request and its response in the host's callbacks.

use std::rc::Rc;

use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;

use super::admin::{self, Own};
use super::root::Active;
use super::watch::{Streams, Watch};
use super::{host, vm};
use crate::admin::MAX_BODY;
use crate::buffering::{ACCEL, ResponseView};
use crate::cut::{Cut, Piece};
use crate::decision;
use crate::hygiene::MARKER;
use crate::live::Live;
use crate::metrics::{General, PerRoute};
use crate::reason::Reason;
use crate::request::RequestView;
use crate::stream::{Passage, Reply, ResponseEffects, Stream};

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
        let policy = config.needs_policy().then(route_policy).flatten();
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
        if config.policy(self.stream.route()).watches() {
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

    fn response(&mut self, active: &Active, ended: bool) -> Action {
        let config = &active.config;
        if let Some(page) = self.judge(active, ended) {
            host::reply(&page);
            return Action::Pause;
        }
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
            return Action::Continue;
        }
        self.note_response(&effects, ended);
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
        self.tell_response(active, &effects);
        Action::Continue
    }

    /// Finds out whether this response is an error of the filter's or the proxy's own, and puts the operator's page in the place of its body.
    /// One without a body has no such place: then the page is to be sent as an answer of its own.
    fn judge(&mut self, active: &Active, ended: bool) -> Option<Reply> {
        let over = self.watch.as_ref().and_then(Watch::over);
        if over.is_some() {
            self.reason = over;
            self.stream.answer();
        }
        if self.stream.is_answered() || !active.config.asks_why() {
            return None;
        }
        self.reason = host::detail().as_deref().and_then(Reason::of_detail);
        let reason = self.reason?;
        vm::with(|vm| vm.metrics.ended(active.slot(self.stream.route()), reason));
        let page = self.stream.proxy_failed(&active.config, reason, host::response_status()?)?;
        if ended && !self.stream.is_head() {
            return Some(page);
        }
        // A compressor between the proxy's answer and us has prepared for the body that goes away.
        host::set_response_header("content-encoding", None);
        host::set_response_header("content-type", Some(&page.content_type));
        host::set_response_header("content-length", Some(&page.body.len().to_string()));
        self.page = Some(page.body);
        None
    }

    fn note_response(&mut self, effects: &ResponseEffects, ended: bool) {
        self.complete = ended;
        let Some(watch) = &self.watch else { return };
        watch.with(|streams, slot| {
            streams.answered(slot, effects.tunnel);
            if let Some((framing, connection)) = effects.cut.zip(self.stream.connection()) {
                streams.may_cut(slot, Cut::new(connection, framing));
            }
            if ended {
                streams.completed(slot);
            }
        });
    }

    fn tell_response(&mut self, active: &Active, effects: &ResponseEffects) {
        let decided = decision::response(effects);
        self.decided = Some(decided);
        if active.tells {
            let told = decision::with(decided, epoch(), None);
            host::tell(decision::FUNCTION, told.as_bytes());
        }
        if active.config.report.header
            && let Some(told) = self.both(active)
        {
            host::set_response_header(decision::HEADER, Some(&told));
        }
    }

    /// A piece of the response has come, of which a drain may want to pass only a part. Whether it passes at all.
    fn cut(&self, held: usize, ended: bool) -> Passage {
        let Some(watch) = &self.watch else { return Passage::Pass };
        let needed = watch.with(|streams, slot| Some(streams.cut(slot)?.needs(held)));
        let Some(needed) = needed.filter(|_| !ended || watch.is_ending()) else {
            return Passage::Pass;
        };
        let end = host::response_body(held - needed, needed);
        let piece = watch.with(|streams, slot| streams.cut(slot).map(|cut| cut.piece(&end, held)));
        if let Some(Piece::Keep(size)) = piece {
            host::replace_response_body(held, &end[..size.min(end.len())]);
        }
        // The end must not pass: what was swallowed would be missing, and nobody could tell.
        if ended { Passage::Hold } else { Passage::Pass }
    }

    /// What was decided over the request, if anybody wants to know.
    fn decision<'a>(&self, active: &'a Active) -> Option<&'a str> {
        Some(active.decisions.as_ref()?.request(self.stream.route(), self.held))
    }

    /// All that is known of the stream, if anybody wants to know.
    fn both(&self, active: &Active) -> Option<String> {
        let decision = self.decision(active).filter(|_| self.counted)?;
        Some(decision::with(&decision::both(decision, self.decided), epoch(), self.reason))
    }

    /// The stream ends, before the proxy writes its line: finds out why, if not by itself, and says so.
    fn log(&mut self, active: &Active) {
        let over = self.watch.as_ref().and_then(Watch::over);
        if over.is_some() {
            self.reason = over;
        } else if !self.complete && self.reason.is_none() && active.config.asks_why() {
            self.reason = host::detail().as_deref().and_then(Reason::of_detail);
            if let Some(reason) = self.reason.filter(|_| self.counted) {
                vm::with(|vm| vm.metrics.ended(active.slot(self.stream.route()), reason));
            }
        }
        if let Some(reason) = self.reason.filter(|_| active.tells) {
            host::tell(decision::FUNCTION, decision::ended(reason).as_bytes());
        }
        if active.config.report.access_log
            && let Some(told) = self.both(active)
        {
            host::set_property(decision::PROPERTY, &told);
        }
    }
}

/// The drain in force.
fn epoch() -> Option<u64> {
    vm::with(|vm| vm.worker.in_force().map(|record| record.epoch))
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
        let passage = self.stream.request_body(&active.config, held, ended);
        if let Some(watch) = self.watch.as_ref().filter(|_| passage == Passage::Pass) {
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
                false => streams.received(slot),
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
