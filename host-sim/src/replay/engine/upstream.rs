//! The upstream's side of the engine: attempts with their scripts, timeouts and retries.

use crate::details::flags;
use crate::proxy_headers;
use crate::replay::error::ReplayError;
use crate::replay::exchange::{AttemptStep, Cursor};
use crate::replay::failure::Failure;
use crate::replay::framing::Length;
use crate::replay::router::RoutePolicy;
use crate::trace::{AttemptEnd, EndedBy, Headers, Outcome};
use crate::{Direction, HeaderMap, Part, ResponseDetails};

use super::{Engine, header_map};

impl Engine<'_> {
    /// A part of the request leaves the filter.
    pub(super) fn request_out(&mut self, slot: u32, part: Part) {
        self.restart_idle_timeout(slot);
        let (now, rules) = (self.now, self.options.profile.rules());
        let limit = self.settings.as_ref().map(|settings| u64::from(settings.buffer_limit));
        let mut unmodelled = Vec::new();
        let Some(exchange) = self.exchanges.get_mut(slot as usize) else { return };
        let line = exchange.spec.line;
        let end = match part {
            Part::Headers { map: mut headers, end } => {
                if let Some((rules, settings)) = rules.router.as_ref().zip(self.settings.as_ref()) {
                    exchange.policy = RoutePolicy::take(rules, settings, &mut headers, |text| {
                        unmodelled.push(text);
                    });
                }
                if rules.adds_proxy_headers {
                    let policy = &exchange.policy;
                    let timeout = policy.attempt_timeout.or(policy.timeout);
                    proxy_headers::add_expected_timeout(&mut headers, timeout);
                }
                if !exchange.upgrade {
                    let length = headers.find("content-length").into_iter();
                    exchange.forwarded.length = Length::parse(length).unwrap_or_default();
                }
                let worker = &mut self.workers[exchange.worker];
                if let Some(logged) = worker.logged_headers(exchange.stream, Direction::Request) {
                    logged.clone_from(&headers);
                }
                exchange.forwarded.headers = Some(headers);
                exchange.forwarded.at = now;
                end || exchange.upgrade
            }
            Part::Body { mut bytes, end } => {
                // The upstream takes what follows for another request.
                exchange.forwarded.length.count(&mut bytes);
                exchange.forwarded.body.add(&bytes);
                // A retry needs the whole body in the proxy's buffer.
                if limit.is_some_and(|limit| exchange.forwarded.body.bytes > limit) {
                    exchange.policy.disable_retries();
                }
                end
            }
            Part::Trailers(_) => true,
        };
        if end {
            exchange.forwarded.complete = true;
            exchange.forwarded.completed_at = now;
            // As in Envoy's router, both timeouts start at the end of the request.
            exchange.deadline = exchange.policy.timeout.map(|timeout| now + timeout);
        }
        match exchange.step {
            AttemptStep::Idle => self.start_attempt(slot),
            // Also before the filter continues the end of the request.
            AttemptStep::Request if end || exchange.forwarded.is_whole() => {
                self.request_complete(slot);
            }
            // The upstream has the whole request, or is about to refuse it.
            AttemptStep::ResponseHeaders if end => {
                exchange.attempt_deadline =
                    exchange.policy.attempt_timeout.map(|timeout| now + timeout);
            }
            _ => {}
        }
        for text in unmodelled {
            self.warn(Some(line), text);
        }
    }

    fn start_attempt(&mut self, slot: u32) {
        let now = self.now;
        self.take_upstream_connection(slot);
        let Some(exchange) = self.exchange(slot) else { return };
        exchange.attempts += 1;
        exchange.download = Cursor::default();
        exchange.step = AttemptStep::Request;
        exchange.step_at = None;
        let script = exchange.spec.script(exchange.attempts);
        if matches!(script.end, AttemptEnd::Refused | AttemptEnd::RefusedStream) {
            exchange.step = AttemptStep::ResponseHeaders;
            exchange.step_at = Some(now + script.after);
            if exchange.forwarded.complete {
                exchange.attempt_deadline =
                    exchange.policy.attempt_timeout.map(|timeout| now + timeout);
            }
        } else if exchange.forwarded.complete || exchange.forwarded.is_whole() {
            self.request_complete(slot);
        }
    }

    /// The upstream has received the whole request.
    fn request_complete(&mut self, slot: u32) {
        let now = self.now;
        let Some(exchange) = self.exchange(slot) else { return };
        let script = exchange.spec.script(exchange.attempts);
        // An upstream that has not received the announced length waits for the rest.
        let silent = exchange.forwarded.length.is_short()
            || (script.response_status().is_none() && script.end == AttemptEnd::Never);
        exchange.step_at = (!silent).then(|| now + script.after);
        exchange.step = AttemptStep::ResponseHeaders;
        if exchange.forwarded.complete {
            exchange.attempt_deadline =
                exchange.policy.attempt_timeout.map(|timeout| now + timeout);
        }
    }

    /// Runs the next step of the current attempt.
    pub(super) fn attempt_step(&mut self, slot: u32) -> Result<(), ReplayError> {
        let Some(exchange) = self.exchange(slot) else { return Ok(()) };
        match exchange.step {
            AttemptStep::BackOff => {
                self.start_attempt(slot);
                Ok(())
            }
            AttemptStep::ResponseHeaders => self.response_headers(slot),
            AttemptStep::ResponseBody => self.response_body(slot),
            AttemptStep::Idle | AttemptStep::Request | AttemptStep::Ended => {
                exchange.step_at = None;
                Ok(())
            }
        }
    }

    fn response_headers(&mut self, slot: u32) -> Result<(), ReplayError> {
        let (now, rules) = (self.now, self.options.profile.rules());
        let Some(exchange) = self.exchange(slot) else { return Ok(()) };
        let spec = exchange.spec.clone();
        let script = spec.script(exchange.attempts);
        let Some(status) = script.response_status() else {
            let failure = Failure::of(script.end).unwrap_or(Failure::Reset);
            return self.attempt_failed(slot, failure);
        };
        let no_body = exchange.is_head() || matches!(status, 204 | 304);
        let Ok(length) = announced_length(&script.headers) else {
            return self.attempt_failed(slot, Failure::Protocol);
        };
        exchange.download_length = if no_body { Length::default() } else { length };
        let fields = script.headers.iter().map(|(name, value)| (&**name, &**value));
        let retriable = exchange.policy.retries_response(status, fields);
        if retriable && exchange.attempts <= exchange.policy.retries() {
            self.retry(slot);
            return Ok(());
        }
        let mut headers = HeaderMap::with_capacity(script.headers.len() + 1, 256);
        headers.push(":status", status_text(status, &mut [0; 3]));
        for (name, value) in &script.headers {
            headers.push(&**name, &**value);
        }
        if rules.adds_proxy_headers {
            // The codec removes it.
            headers.remove("keep-alive");
        }
        // The request of an upgrade has no end.
        if rules.adds_proxy_headers && exchange.forwarded.complete && !exchange.upgrade {
            let time = now.saturating_sub(exchange.forwarded.completed_at);
            proxy_headers::add_service_time(&mut headers, time);
        }
        let upgraded = status == 101 && exchange.upgrade;
        let empty = script.body.is_empty()
            && script.trailers.is_empty()
            && script.end == AttemptEnd::Complete
            && !exchange.download_length.is_short();
        let end = no_body || (empty && !upgraded);
        exchange.attempt_deadline = None;
        if upgraded {
            // Envoy's route timeout does not apply to an upgraded stream.
            exchange.deadline = None;
            exchange.request_deadline = None;
        }
        exchange.ended_by = Some(EndedBy::Upstream);
        exchange.step = if end { AttemptStep::Ended } else { AttemptStep::ResponseBody };
        exchange.step_at = if end { None } else { exchange.next_download(now) };
        if end {
            self.return_upstream_connection(slot);
        }
        if retriable {
            let flags = flags::RETRY_LIMIT_EXCEEDED;
            self.set_response_details(slot, ResponseDetails { flags, ..ResponseDetails::UPSTREAM });
        }
        self.response_in(slot, Part::Headers { map: headers, end })
    }

    fn response_body(&mut self, slot: u32) -> Result<(), ReplayError> {
        let (now, rules) = (self.now, self.options.profile.rules());
        let Some(exchange) = self.exchange(slot) else { return Ok(()) };
        let spec = exchange.spec.clone();
        let script = spec.script(exchange.attempts);
        if exchange.download.pause(&script.body).is_some() {
            let mut bytes = Vec::new();
            exchange.download.advance(&script.body, &mut bytes);
            // What follows the announced length is not part of the response.
            if exchange.download_length.count(&mut bytes) {
                exchange.download = Cursor::at_end(&script.body);
            }
            // A response with a length ends with its last byte, unless the host reports the end
            // later, as it does for a chunked response.
            let end = exchange.download.pause(&script.body).is_none()
                && script.trailers.is_empty()
                && script.end == AttemptEnd::Complete
                && exchange.download_length.is_full()
                && !rules.http1_end_is_separate;
            exchange.step_at = exchange.next_download(now);
            if end {
                exchange.abandon_attempt();
                self.return_upstream_connection(slot);
            }
            return self.response_in(slot, Part::Body { bytes, end });
        }
        exchange.abandon_attempt();
        match script.end {
            // The upstream has not sent all that it announced, and leaves the connection open.
            AttemptEnd::Complete if exchange.download_length.is_short() => Ok(()),
            AttemptEnd::Complete => {
                let part = match script.trailers.is_empty() {
                    true => Part::Body { bytes: Vec::new(), end: true },
                    false => Part::Trailers(header_map(&script.trailers)),
                };
                self.return_upstream_connection(slot);
                self.response_in(slot, part)
            }
            AttemptEnd::Never => Ok(()),
            _ => self.cut(slot, EndedBy::Upstream, Failure::Protocol),
        }
    }

    fn attempt_failed(&mut self, slot: u32, failure: Failure) -> Result<(), ReplayError> {
        let Some(exchange) = self.exchange(slot) else { return Ok(()) };
        let retriable = exchange.policy.retries_failure(failure);
        if retriable && exchange.attempts <= exchange.policy.retries() {
            self.retry(slot);
            return Ok(());
        }
        exchange.abandon_attempt();
        self.reply(slot, failure, if retriable { flags::RETRY_LIMIT_EXCEEDED } else { 0 })
    }

    fn retry(&mut self, slot: u32) {
        let now = self.now;
        let Some(exchange) = self.exchanges.get_mut(slot as usize) else { return };
        let pause = exchange.policy.back_off(exchange.attempts, &mut self.rng);
        exchange.abandon_attempt();
        exchange.step = AttemptStep::BackOff;
        exchange.step_at = Some(now + pause);
    }

    pub(super) fn attempt_timeout(&mut self, slot: u32) -> Result<(), ReplayError> {
        self.attempt_failed(slot, Failure::AttemptTimeout)
    }

    pub(super) fn request_timeout(&mut self, slot: u32) -> Result<(), ReplayError> {
        let Some(exchange) = self.exchange(slot) else { return Ok(()) };
        exchange.deadline = None;
        exchange.abandon_attempt();
        if exchange.ended_by.is_some() {
            return self.cut(slot, EndedBy::Proxy, Failure::RequestTimeout);
        }
        self.reply(slot, Failure::RequestTimeout, 0)
    }

    /// Sends a local reply, which passes through the filter as a response of the upstream does.
    pub(super) fn reply(
        &mut self,
        slot: u32,
        failure: Failure,
        flags: u64,
    ) -> Result<(), ReplayError> {
        let (rules, version) = (self.options.profile.rules(), self.version());
        let Some(exchange) = self.exchange(slot) else { return Ok(()) };
        exchange.deadline = None;
        exchange.ended_by = Some(EndedBy::Proxy);
        let reply = failure.reply(rules, version, exchange.attempts);
        let (map, body) = reply.message(exchange.request_kind, rules.local_reply_adds_headers);
        let flags = failure.flags() | flags;
        let code = Some(reply.status);
        self.set_response_details(slot, ResponseDetails { details: reply.details, flags, code });
        let end = body.is_empty();
        self.response_in(slot, Part::Headers { map, end })?;
        if !end {
            self.response_in(slot, Part::Body { bytes: body, end: true })?;
        }
        Ok(())
    }

    /// Ends a response that cannot be completed. If the client has received no headers, because the
    /// filter holds them, the proxy replies instead, and the filter does not receive the reply.
    pub(super) fn cut(
        &mut self,
        slot: u32,
        by: EndedBy,
        failure: Failure,
    ) -> Result<(), ReplayError> {
        let (rules, version) = (self.options.profile.rules(), self.version());
        let Some(exchange) = self.exchange(slot) else { return Ok(()) };
        exchange.abandon_attempt();
        if exchange.client.status.is_none() {
            exchange.ended_by = Some(EndedBy::Proxy);
            let reply = failure.reply(rules, version, exchange.attempts);
            let (map, body) = reply.message(exchange.request_kind, rules.local_reply_adds_headers);
            let end = body.is_empty();
            self.set_response_details(slot, failure.within_response());
            self.response_out(slot, Part::Headers { map, end });
            if !end {
                self.response_out(slot, Part::Body { bytes: body, end: true });
            }
            return self.end_exchanges();
        }
        exchange.ended_by = Some(by);
        self.set_response_details(slot, failure.within_response());
        self.ended.push((slot, Outcome::Cut));
        self.end_exchanges()
    }

    /// Takes an idle upstream connection of the worker, or opens one. As measured on Envoy,
    /// upstream and client connections share one sequence of ids.
    fn take_upstream_connection(&mut self, slot: u32) {
        let Some(worker) = self.exchange(slot).map(|exchange| exchange.worker) else { return };
        let idle = &mut self.workers[worker].idle_upstreams;
        if *idle > 0 {
            *idle -= 1;
        } else {
            self.next_connection_id = self.next_connection_id.saturating_add(1);
        }
    }

    fn return_upstream_connection(&mut self, slot: u32) {
        if let Some(worker) = self.exchange(slot).map(|exchange| exchange.worker) {
            self.workers[worker].idle_upstreams += 1;
        }
    }
}

/// The length that the headers of a response announce.
fn announced_length(headers: &Headers<'_>) -> Result<Length, ()> {
    let values = headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    Length::parse(values.map(|(_, value)| value.as_bytes()))
}

/// The three digits of a status.
fn status_text(status: u16, buffer: &mut [u8; 3]) -> &[u8] {
    let digit = |value: u16| b'0' + (value % 10) as u8;
    *buffer = [digit(status / 100), digit(status / 10), digit(status)];
    buffer
}
