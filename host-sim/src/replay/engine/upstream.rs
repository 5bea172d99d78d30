//! The upstream's side of the engine: tries, their scripts, and the limits on them.

use std::time::Duration;

use crate::details::flags;
use crate::trace::{End, EndedBy, Outcome};
use crate::{HeaderMap, Part, ResponseDetails};

use super::super::ReplayError;
use super::super::exchange::Attempt;
use super::super::failure::Failure;
use super::super::router::{self, RoutePolicy};
use super::{Engine, header_map};

impl Engine<'_> {
    /// A part of the request leaves the filter.
    pub(super) fn request_out(&mut self, slot: u32, part: Part) {
        let (now, profile) = (self.now, self.options.profile);
        let Some(live) = self.at(slot) else { return };
        let end = match part {
            Part::Headers { map: mut headers, end } => {
                live.policy = RoutePolicy::take(profile, &mut headers);
                live.forwarded.headers = Some(headers);
                live.forwarded.at = now;
                end || live.upgrade
            }
            Part::Body { bytes, end } => {
                live.forwarded.body.add(&bytes);
                // What does not fit into the proxy's buffer cannot be sent a second time.
                let limit = profile.rules().body_limit;
                if limit.is_some_and(|limit| live.forwarded.body.bytes > limit as u64) {
                    live.policy.never_retry();
                }
                end
            }
            Part::Trailers(_) => true,
        };
        if end {
            live.forwarded.complete = true;
            // Both limits run from the end of the request, as in Envoy's router.
            live.deadline = live.policy.timeout.map(|limit| now + limit);
        }
        match live.attempt {
            Attempt::Idle => self.start_try(slot),
            Attempt::Reading if end => self.request_was_read(slot),
            // The upstream is about to refuse.
            Attempt::Headers if end => {
                live.try_deadline = live.policy.per_try.map(|limit| now + limit);
            }
            _ => {}
        }
    }

    fn start_try(&mut self, slot: u32) {
        let now = self.now;
        self.take_upstream_connection(slot);
        let Some(live) = self.at(slot) else { return };
        live.tries += 1;
        live.download = Default::default();
        live.attempt = Attempt::Reading;
        live.attempt_at = None;
        if matches!(live.script().end, End::Refused | End::RefusedStream) {
            live.attempt = Attempt::Headers;
            live.attempt_at = Some(now + live.script().after);
            if live.forwarded.complete {
                live.try_deadline = live.policy.per_try.map(|limit| now + limit);
            }
        } else if live.forwarded.complete {
            self.request_was_read(slot);
        }
    }

    /// The upstream has the whole request and begins to work on it.
    fn request_was_read(&mut self, slot: u32) {
        let now = self.now;
        let Some(live) = self.at(slot) else { return };
        live.attempt = Attempt::Headers;
        let silent = live.script().response_status().is_none() && live.script().end == End::Never;
        live.attempt_at = (!silent).then(|| now + live.script().after);
        live.try_deadline = live.policy.per_try.map(|limit| now + limit);
    }

    /// The current try does its next step.
    pub(super) fn attempt_step(&mut self, slot: u32) -> Result<(), ReplayError> {
        let Some(live) = self.at(slot) else { return Ok(()) };
        match live.attempt {
            Attempt::BackOff => {
                self.start_try(slot);
                Ok(())
            }
            Attempt::Headers => self.response_headers(slot),
            Attempt::Body => self.response_body(slot),
            Attempt::Idle | Attempt::Reading | Attempt::Over => {
                live.attempt_at = None;
                Ok(())
            }
        }
    }

    fn response_headers(&mut self, slot: u32) -> Result<(), ReplayError> {
        let now = self.now;
        let Some(live) = self.at(slot) else { return Ok(()) };
        let script = live.script();
        let Some(status) = script.response_status() else {
            let failure = Failure::of(script.end).unwrap_or(Failure::Reset);
            return self.try_failed(slot, failure);
        };
        let covered = live.policy.covers_status(status);
        if covered && live.tries <= live.policy.retries {
            self.try_again(slot);
            return Ok(());
        }
        let mut headers = HeaderMap::with_capacity(script.headers.len() + 1, 256);
        headers.push(":status", status_text(status, &mut [0; 3]));
        for (name, value) in &script.headers {
            headers.push(&**name, &**value);
        }
        let no_body = live.is_head() || matches!(status, 204 | 304);
        let left_http = status == 101 && live.upgrade;
        let bare =
            script.body.is_empty() && script.trailers.is_empty() && script.end == End::Complete;
        let end = no_body || (bare && !left_http);
        live.try_deadline = None;
        if left_http {
            // What follows is no response that could be complete: Envoy's limit ends here.
            live.deadline = None;
        }
        live.answered_by = Some(EndedBy::Upstream);
        live.attempt = if end { Attempt::Over } else { Attempt::Body };
        live.attempt_at = if end { None } else { live.next_download(now) };
        if end {
            self.return_upstream_connection(slot);
        }
        if covered {
            let flags = flags::TRIES_USED_UP;
            self.explain(slot, ResponseDetails { flags, ..ResponseDetails::UPSTREAM });
        }
        self.response_in(slot, Part::Headers { map: headers, end })
    }

    fn response_body(&mut self, slot: u32) -> Result<(), ReplayError> {
        let now = self.now;
        let Some(live) = self.at(slot) else { return Ok(()) };
        let script = live.script();
        if live.download.pause(&script.body).is_some() {
            let mut bytes = Vec::new();
            live.download.advance(&script.body, &mut bytes);
            // An upstream that knows the length of its body ends it with the last byte; one that
            // sends chunks ends it a moment later, which a filter sees as a call of its own.
            let end = live.download.pause(&script.body).is_none()
                && script.trailers.is_empty()
                && script.end == End::Complete
                && has_length(&script.headers);
            live.attempt_at = live.next_download(now);
            if end {
                live.abandon_attempt();
                self.return_upstream_connection(slot);
            }
            return self.response_in(slot, Part::Body { bytes, end });
        }
        live.abandon_attempt();
        match script.end {
            End::Complete => {
                let part = match script.trailers.is_empty() {
                    true => Part::Body { bytes: Vec::new(), end: true },
                    false => Part::Trailers(header_map(&script.trailers)),
                };
                self.return_upstream_connection(slot);
                self.response_in(slot, part)
            }
            End::Never => Ok(()),
            _ => self.cut(slot, EndedBy::Upstream, Failure::Protocol),
        }
    }

    fn try_failed(&mut self, slot: u32, failure: Failure) -> Result<(), ReplayError> {
        let Some(live) = self.at(slot) else { return Ok(()) };
        let covered = live.policy.covers_failure(failure);
        if covered && live.tries <= live.policy.retries {
            self.try_again(slot);
            return Ok(());
        }
        live.abandon_attempt();
        self.reply(slot, failure, if covered { flags::TRIES_USED_UP } else { 0 })
    }

    fn try_again(&mut self, slot: u32) {
        let now = self.now;
        let tries = self.at(slot).map_or(1, |live| live.tries);
        let pause = router::back_off(tries, &mut self.rng);
        let Some(live) = self.at(slot) else { return };
        live.abandon_attempt();
        live.attempt = Attempt::BackOff;
        live.attempt_at = Some(now + pause);
    }

    /// The current try has taken longer than it may.
    pub(super) fn try_timeout(&mut self, slot: u32) -> Result<(), ReplayError> {
        self.try_failed(slot, Failure::PerTry)
    }

    /// The request as a whole has taken longer than it may.
    pub(super) fn request_timeout(&mut self, slot: u32) -> Result<(), ReplayError> {
        let Some(live) = self.at(slot) else { return Ok(()) };
        live.deadline = None;
        live.abandon_attempt();
        if live.answered_by.is_some() {
            return self.cut(slot, EndedBy::Proxy, Failure::Request);
        }
        self.reply(slot, Failure::Request, 0)
    }

    /// The proxy answers by itself; the answer passes the filter like an upstream's.
    fn reply(&mut self, slot: u32, failure: Failure, flags: u64) -> Result<(), ReplayError> {
        let profile = self.options.profile;
        let Some(live) = self.at(slot) else { return Ok(()) };
        live.deadline = None;
        live.answered_by = Some(EndedBy::Proxy);
        let reply = failure.reply(profile, live.tries);
        let none = HeaderMap::new();
        let request = live.forwarded.headers.as_ref().unwrap_or(&none);
        let (map, body) = reply.message(request, profile.rules().local_reply_adds_headers);
        let flags = failure.flags() | flags;
        let code = Some(reply.status);
        self.explain(slot, ResponseDetails { details: reply.details, flags, code });
        let end = body.is_empty();
        self.response_in(slot, Part::Headers { map, end })?;
        if !end {
            self.response_in(slot, Part::Body { bytes: body, end: true })?;
        }
        Ok(())
    }

    /// The response cannot be completed. A client that has seen some of it can tell; one that has seen
    /// nothing, because the filter held the headers, gets an error instead.
    fn cut(&mut self, slot: u32, by: EndedBy, failure: Failure) -> Result<(), ReplayError> {
        let status = failure.status(self.options.profile);
        let Some(live) = self.at(slot) else { return Ok(()) };
        live.abandon_attempt();
        let outcome = match live.client.status {
            Some(_) => {
                live.answered_by = Some(by);
                Outcome::Cut
            }
            None => {
                live.answered_by = Some(EndedBy::Proxy);
                live.client.status = Some(status);
                Outcome::Complete
            }
        };
        self.explain(slot, failure.within_response());
        self.ended.push((slot, outcome));
        self.end_exchanges()
    }

    /// Upstream connections take numbers from the same count as clients', as measured on Envoy.
    fn take_upstream_connection(&mut self, slot: u32) {
        let Some(worker) = self.at(slot).map(|live| live.worker) else { return };
        let idle = &mut self.workers[worker].idle_upstreams;
        if *idle > 0 {
            *idle -= 1;
        } else {
            self.next_connection_id = self.next_connection_id.saturating_add(1);
        }
    }

    fn return_upstream_connection(&mut self, slot: u32) {
        if let Some(worker) = self.at(slot).map(|live| live.worker) {
            self.workers[worker].idle_upstreams += 1;
        }
    }
}

impl super::super::exchange::Live<'_> {
    /// When the upstream sends its next part, or ends.
    fn next_download(&self, now: Duration) -> Option<Duration> {
        let script = self.script();
        match (self.download.pause(&script.body), script.end) {
            (Some(pause), _) => Some(now + pause),
            (None, End::Never) => None,
            (None, _) => Some(now),
        }
    }
}

fn has_length(headers: &crate::trace::Headers<'_>) -> bool {
    headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-length"))
}

/// A status as three digits.
fn status_text(status: u16, buffer: &mut [u8; 3]) -> &[u8] {
    let digit = |value: u16| b'0' + (value % 10) as u8;
    *buffer = [digit(status / 100), digit(status / 10), digit(status)];
    buffer
}
