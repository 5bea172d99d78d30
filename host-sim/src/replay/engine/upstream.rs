//! The upstream's side of the engine: tries, their scripts, and the limits on them.

use std::time::Duration;

use crate::trace::{End, Outcome};
use crate::{HeaderMap, Part, Profile};

use super::super::ReplayError;
use super::super::exchange::Attempt;
use super::super::router::{self, RoutePolicy, TryFailure};
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
                end
            }
            Part::Body { bytes, end } => {
                live.forwarded.body.add(&bytes);
                // What does not fit into the proxy's buffer cannot be sent a second time.
                let limit = profile.rules().body_limit;
                if limit.is_some_and(|limit| live.forwarded.body.bytes > limit as u64) {
                    live.policy.retries = 0;
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
            let failure = TryFailure::of(script.end).unwrap_or(TryFailure::Reset);
            return self.try_failed(slot, failure);
        };
        if live.policy.retries_status(status, live.tries) {
            self.try_again(slot);
            return Ok(());
        }
        let mut headers = HeaderMap::with_capacity(script.headers.len() + 1, 256);
        headers.push(":status", status_text(status, &mut [0; 3]));
        for (name, value) in &script.headers {
            headers.push(&**name, &**value);
        }
        let no_body = live.is_head() || matches!(status, 204 | 304);
        let end = no_body
            || script.body.is_empty() && script.trailers.is_empty() && script.end == End::Complete;
        live.try_deadline = None;
        if status == 101 && live.asks_for_upgrade() {
            // What follows is no response that could be complete: Envoy's limit ends here.
            live.deadline = None;
        }
        live.answered = true;
        live.attempt = if end { Attempt::Over } else { Attempt::Body };
        live.attempt_at = if end { None } else { live.next_download(now) };
        if end {
            self.return_upstream_connection(slot);
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
            _ => self.cut(slot),
        }
    }

    fn try_failed(&mut self, slot: u32, failure: TryFailure) -> Result<(), ReplayError> {
        let Some(live) = self.at(slot) else { return Ok(()) };
        if live.policy.retries_failure(failure, live.tries) {
            self.try_again(slot);
            return Ok(());
        }
        let retried = live.tries > 1;
        live.abandon_attempt();
        let (status, text) = proxy_reply(self.options.profile, failure, retried);
        self.reply(slot, status, &text)
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
        self.try_failed(slot, TryFailure::PerTry)
    }

    /// The request as a whole has taken longer than it may.
    pub(super) fn request_timeout(&mut self, slot: u32) -> Result<(), ReplayError> {
        let Some(live) = self.at(slot) else { return Ok(()) };
        live.deadline = None;
        live.abandon_attempt();
        if live.answered {
            return self.cut(slot);
        }
        self.reply(slot, 504, "upstream request timeout")
    }

    /// The proxy answers by itself; the answer passes the filter like an upstream's.
    pub(super) fn reply(&mut self, slot: u32, status: u16, text: &str) -> Result<(), ReplayError> {
        let Some(live) = self.at(slot) else { return Ok(()) };
        live.deadline = None;
        live.answered = true;
        let end = text.is_empty() || live.is_head();
        let mut headers = HeaderMap::new();
        headers.push(":status", status_text(status, &mut [0; 3]));
        headers.push("content-length", text.len().to_string());
        headers.push("content-type", "text/plain");
        self.response_in(slot, Part::Headers { map: headers, end })?;
        if !end {
            let bytes = text.as_bytes().to_vec();
            self.response_in(slot, Part::Body { bytes, end: true })?;
        }
        Ok(())
    }

    /// The response cannot be completed. A client that has seen some of it can tell; one that has seen
    /// nothing, because the filter held the headers, gets an error instead.
    pub(super) fn cut(&mut self, slot: u32) -> Result<(), ReplayError> {
        let Some(live) = self.at(slot) else { return Ok(()) };
        live.abandon_attempt();
        let outcome = match live.client.status {
            Some(_) => Outcome::Cut,
            None => {
                live.client.status = Some(502);
                Outcome::Complete
            }
        };
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

/// What the proxy answers where the last try failed before a response: Envoy's own words, measured.
fn proxy_reply(profile: Profile, failure: TryFailure, retried: bool) -> (u16, String) {
    if profile == Profile::Generic {
        let status = if failure == TryFailure::PerTry { 504 } else { 502 };
        return (status, String::new());
    }
    let (status, reason) = match failure {
        TryFailure::PerTry => return (504, "upstream request timeout".to_owned()),
        TryFailure::Connect => (503, "remote connection failure"),
        TryFailure::RefusedStream => (503, "remote refused stream reset"),
        TryFailure::Reset => (503, "connection termination"),
        TryFailure::Protocol => (502, "protocol error"),
    };
    let which = if retried { "retried and the latest reset reason" } else { "reset reason" };
    let text =
        format!("upstream connect error or disconnect/reset before headers. {which}: {reason}");
    (status, text)
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
