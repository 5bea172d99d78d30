//! The plugin's calls to clusters, and their results from the trace.

use std::time::Duration;

use crate::replay::error::ReplayError;
use crate::replay::failure::Failure;
use crate::replay::grpc::{self, GrpcEvent, GrpcResponse};
use crate::replay::schedule::Wake;
use crate::replay::worker::{CallType, PendingCall};
use crate::trace::{AttemptEnd, ClusterResponse};
use crate::{CallFailure, CallId, HeaderMap, Vm};

use super::{Engine, header_map};

impl Engine<'_> {
    /// Starts a call: schedules its result, unless it never ends.
    pub(super) fn start_call(
        &mut self,
        worker: usize,
        call: CallId,
        cluster: String,
        timeout: Option<Duration>,
        kind: CallType,
    ) {
        let Some(vm) = self.workers[worker].vm.as_ref().map(Vm::id) else { return };
        let after = match self.clusters.get(cluster.as_str()) {
            Some(respond) if respond.end == AttemptEnd::Never => None,
            Some(respond) => Some(respond.after),
            // Nothing listens in a cluster without a response.
            None => Some(Duration::ZERO),
        };
        let expires = timeout.filter(|timeout| after.is_none_or(|after| after > *timeout));
        let Some(after) = expires.or(after) else { return };
        let expired = expires.is_some();
        // The guest has sent the whole request, except on a stream.
        let half_closed = kind != CallType::GrpcStream;
        let pending = PendingCall {
            worker,
            vm,
            call,
            cluster,
            kind,
            expired,
            half_closed,
            started: self.now,
        };
        let slot = self.calls.insert(pending);
        self.schedule.push(self.now + after, Wake::Call(slot as u32));
    }

    /// Records that the guest has ended its side of a stream.
    pub(super) fn half_close_call(&mut self, worker: usize, call: CallId) {
        if let Some(pending) = self.pending_call(worker, call) {
            pending.half_closed = true;
        }
    }

    fn pending_call(&mut self, worker: usize, call: CallId) -> Option<&mut PendingCall> {
        let vm = self.workers[worker].vm.as_ref().map(Vm::id)?;
        let mut calls = self.calls.iter_mut().map(|(_, pending)| pending);
        calls.find(|pending| (pending.vm, pending.call) == (vm, call))
    }

    /// Delivers the result of a call to the plugin.
    pub(super) fn end_call(&mut self, slot: usize) -> Result<(), ReplayError> {
        let Some(pending) = self.calls.try_remove(slot) else { return Ok(()) };
        let respond = self.clusters.get(pending.cluster.as_str()).cloned();
        let respond = respond.as_deref();
        let (rules, version) = (self.options.profile.rules(), self.version());
        let elapsed = self.now.saturating_sub(pending.started);
        let Some(vm) = self.workers[pending.worker].vm.as_mut() else { return Ok(()) };
        if vm.id() != pending.vm {
            return Ok(());
        }
        let failure = failure(&pending, respond);
        let time = (rules.router_adds_call_headers && pending.half_closed).then_some(elapsed);
        match (pending.kind, respond) {
            (CallType::Http, Some(respond)) if failure.is_none() => {
                let headers = response_headers(respond, time);
                let trailers = respond.trailers.as_ref().map(header_map).unwrap_or_default();
                vm.http_call_response(pending.call, headers, &respond.raw_body(), trailers);
            }
            (CallType::Http, _) => {
                let failure = call_failure(failure, has_started(respond));
                let names_transport =
                    rules.failed_call_is_response && version.rules().reply_names_transport_failure;
                match failure {
                    CallFailure::Refused if names_transport => {
                        let reply = Failure::Connect.reply(rules, version, 1);
                        let (headers, body) = (reply.call_headers(), &*reply.body);
                        vm.http_call_response(pending.call, headers, body, HeaderMap::new());
                    }
                    failure => vm.http_call_failed(pending.call, failure),
                }
            }
            (CallType::GrpcUnary | CallType::GrpcStream, respond) => {
                let events = match respond {
                    Some(respond) if failure.is_none() || has_started(Some(respond)) => {
                        let response = grpc_response(respond, time, failure);
                        response.events(rules)
                    }
                    _ => {
                        let failure = failure.unwrap_or(Failure::Connect);
                        grpc::local_reply(&failure.reply(rules, version, 1), rules)
                    }
                };
                let events = match pending.kind {
                    CallType::GrpcUnary => vec![grpc::unary(events)],
                    _ => events,
                };
                for event in events {
                    // The event before may have ended exchanges.
                    self.settle(pending.worker)?;
                    let vm = self.workers[pending.worker].vm.as_mut();
                    let Some(vm) = vm.filter(|vm| vm.id() == pending.vm) else { return Ok(()) };
                    match event {
                        GrpcEvent::InitialMetadata(map) => {
                            vm.grpc_initial_metadata(pending.call, map);
                        }
                        GrpcEvent::Message(message) => vm.grpc_message(pending.call, &message),
                        GrpcEvent::TrailingMetadata(map) => {
                            vm.grpc_trailing_metadata(pending.call, map);
                        }
                        GrpcEvent::Close { status, message } => {
                            vm.grpc_close(pending.call, status, &message);
                        }
                    }
                }
            }
        }
        self.settle(pending.worker)
    }
}

/// Whether the response headers arrive.
fn has_started(respond: Option<&ClusterResponse<'_>>) -> bool {
    respond.is_some_and(|respond| respond.status.is_some())
}

/// How a call failed; `None` if its response is complete.
fn failure(pending: &PendingCall, respond: Option<&ClusterResponse<'_>>) -> Option<Failure> {
    if pending.expired {
        return Some(Failure::RequestTimeout);
    }
    match respond {
        Some(respond) => Failure::of(respond.end),
        None => Some(Failure::Connect),
    }
}

fn call_failure(failure: Option<Failure>, started: bool) -> CallFailure {
    match failure {
        _ if started => CallFailure::IncompleteResponse,
        Some(Failure::Connect) | None => CallFailure::Refused,
        Some(Failure::Protocol) => CallFailure::Protocol,
        Some(Failure::RefusedStream | Failure::Reset) => CallFailure::Reset,
        Some(_) => CallFailure::Timeout,
    }
}

fn response_headers(respond: &ClusterResponse<'_>, time: Option<Duration>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.push(":status", respond.status.unwrap_or(200).to_string());
    for (name, value) in &respond.headers {
        headers.push(&**name, &**value);
    }
    if let Some(time) = time {
        headers.set("x-envoy-upstream-service-time", time.as_millis().to_string());
    }
    headers
}

fn grpc_response(
    respond: &ClusterResponse<'_>,
    time: Option<Duration>,
    cut: Option<Failure>,
) -> GrpcResponse {
    let headers = response_headers(respond, time);
    let has_status = headers.find("grpc-status").is_some();
    let trailers = match &respond.trailers {
        Some(trailers) => Some(header_map(trailers)).filter(|trailers| !trailers.is_empty()),
        None if respond.messages.is_some() && !has_status => {
            Some([("grpc-status", "0")].into_iter().collect())
        }
        None => None,
    };
    GrpcResponse { headers, body: respond.raw_body(), trailers, cut }
}

impl ClusterResponse<'_> {
    /// The body, with the prefixes of its messages.
    fn raw_body(&self) -> Vec<u8> {
        let mut body = self.body.as_ref().map(|body| body.0.to_vec()).unwrap_or_default();
        for message in self.messages.iter().flatten() {
            grpc::frame(&message.0, &mut body);
        }
        body
    }
}
