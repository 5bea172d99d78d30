//! What a response is: one of the upstream's, or an answer in its place; held or streamed; the last on its connection; one that a drain may cut.

use proxy_wasm::types::Action;

use super::super::root::Active;
use super::super::watch::Watch;
use super::super::{host, vm};
use super::Http;
use crate::buffering::{ACCEL, ResponseView};
use crate::cut::{Cut, Piece};
use crate::hygiene::MARKER;
use crate::live::Kind;
use crate::metrics::{General, PerRoute};
use crate::reason::Reason;
use crate::reply::LocalReply;
use crate::stream::{Passage, ResponseEffects};

impl Http {
    pub(super) fn response(&mut self, active: &Active, ended: bool) -> Action {
        let config = &active.config;
        if let Some(page) = self.judge(active, ended) {
            host::reply(&page);
            return Action::Pause;
        }
        let route = self.stream.route();
        let due = self.stream.connection().is_some_and(|connection| {
            let name = route.and_then(|index| config.route_name(index));
            vm::with(|vm| vm.worker.closes(connection, name, host::now_ms))
        });
        let closing = due && (active.marks || speaks_http_1());
        let headers = self.stream.needs_response(config, closing).then(host::response_headers);
        let view = headers.as_deref().map(ResponseView::new);
        let effects = self.stream.response(config, view.as_ref(), ended, closing);
        if effects.interim {
            return Action::Continue;
        }
        self.note_response(active, &effects, ended);
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
    fn judge(&mut self, active: &Active, ended: bool) -> Option<LocalReply> {
        let over = self.watch.as_ref().and_then(Watch::over);
        if over.is_some() {
            self.reason = over;
            self.stream.answer();
        }
        if self.stream.is_answered() || !active.config.wants_failure_reason() {
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

    fn note_response(&mut self, active: &Active, effects: &ResponseEffects, ended: bool) {
        self.complete = ended;
        self.tunnel = effects.tunnel;
        let Some(watch) = &self.watch else { return };
        // What is held, its client does not wait for, nor the upstream for its client.
        let kind = match effects.tunnel {
            true => Kind::Tunnel,
            false if !ended && !effects.hold && host::has_length() => {
                Kind::Sized(active.config.policy(self.stream.route()).max_bytes)
            }
            false => Kind::Endless,
        };
        watch.with(|streams, slot| {
            streams.answered(slot, kind);
            if let Some((framing, connection)) = effects.cut.zip(self.stream.connection()) {
                streams.may_cut(slot, Cut::new(connection, framing));
            }
            if ended {
                streams.completed(slot);
            }
        });
    }

    /// A piece of the response has come, of which a drain may want to pass only a part. Whether it passes at all.
    pub(super) fn cut(&self, held: usize, ended: bool) -> Passage {
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
}

/// `connection` is a header of HTTP/1.x; later versions forbid it.
fn speaks_http_1() -> bool {
    host::property(&["request", "protocol"]).is_some_and(|protocol| protocol.starts_with(b"HTTP/1"))
}
