//! Responses to the calls of the guest.

use super::instance::Vm;
use crate::abi::MapType;
use crate::error::CallFailure;
use crate::headers::HeaderMap;
use crate::ids::CallId;
use crate::inline_headers::MapRules;
use crate::local_reply::LocalReply;
use crate::state::{CallKind, Subject};

impl Vm {
    /// Delivers the response to an HTTP call.
    pub fn http_call_response(
        &mut self,
        call: CallId,
        headers: HeaderMap,
        body: &[u8],
        trailers: HeaderMap,
    ) {
        let state = self.state();
        if state.rules.status_of_http_call {
            let code = headers.text(":status").and_then(|code| code.parse().ok());
            state.call_status = (code.unwrap_or(0), String::new());
        }
        self.deliver_http(call, headers, body, trailers);
    }

    /// Ends an HTTP call that failed. The profile determines how the guest is notified.
    pub fn http_call_failed(&mut self, call: CallId, failure: CallFailure) {
        let is_response = self.state().rules.failed_call_is_response;
        let reply = match failure {
            _ if !is_response => {
                self.state().call_status = (0, String::new());
                return self.deliver_http(call, HeaderMap::new(), b"", HeaderMap::new());
            }
            CallFailure::IncompleteResponse => {
                self.state().call_status = (BROKEN_CONNECTION, "reset".to_owned());
                return self.call_http_response(call, [0; 3], Subject::None);
            }
            CallFailure::Timeout => LocalReply::new(504, "upstream request timeout", ""),
            CallFailure::Refused => reset(503, "remote connection failure"),
            CallFailure::Reset => reset(503, "connection termination"),
            CallFailure::Protocol => reset(502, "protocol error"),
        };
        self.deliver_http(call, reply.call_headers(), &reply.body, HeaderMap::new());
    }

    /// Delivers the initial metadata of a gRPC call.
    pub fn grpc_initial_metadata(&mut self, call: CallId, metadata: HeaderMap) {
        let count = metadata.len() as u32;
        let subject = Subject::GrpcInitialMetadata(metadata);
        let Some((slot, id, _)) = self.begin_grpc_event(call, subject) else { return };
        let name = "proxy_on_grpc_receive_initial_metadata";
        let params = (id, call.0, count);
        let _ = self.call_guest(slot, name, |exports| &exports.on_grpc_initial_metadata, params);
        self.end_grpc_event();
    }

    /// Delivers a message of a gRPC call. A unary call ends with it.
    pub fn grpc_message(&mut self, call: CallId, message: &[u8]) {
        let subject = Subject::GrpcMessage(message.to_vec());
        let Some((slot, id, kind)) = self.begin_grpc_event(call, subject) else { return };
        let params = (id, call.0, message.len() as u32);
        let name = "proxy_on_grpc_receive";
        let _ = self.call_guest(slot, name, |exports| &exports.on_grpc_receive, params);
        if kind == CallKind::GrpcUnary {
            self.state().calls.remove(call.0);
        }
        self.end_grpc_event();
    }

    /// Delivers the trailing metadata of a gRPC call.
    pub fn grpc_trailing_metadata(&mut self, call: CallId, metadata: HeaderMap) {
        let count = metadata.len() as u32;
        let subject = Subject::GrpcTrailingMetadata(metadata);
        let Some((slot, id, _)) = self.begin_grpc_event(call, subject) else { return };
        let name = "proxy_on_grpc_receive_trailing_metadata";
        let params = (id, call.0, count);
        let _ = self.call_guest(slot, name, |exports| &exports.on_grpc_trailing_metadata, params);
        self.end_grpc_event();
    }

    /// Ends a gRPC call with a status: 0 for success, 14 (`UNAVAILABLE`) if it could not be sent or
    /// timed out.
    pub fn grpc_close(&mut self, call: CallId, status: u32, message: &str) {
        let Some((slot, ..)) = self.begin_grpc_event(call, Subject::None) else { return };
        let state = self.state();
        let keeps_streams = state.rules.late_grpc_message_is_ok;
        state.calls.end(call.0, keeps_streams);
        self.call_grpc_close(slot, call.0, status, message);
        self.apply_actions();
    }

    /// Calls `proxy_on_grpc_close` of the plugin in this slot.
    pub(super) fn call_grpc_close(&mut self, slot: u32, call: u32, status: u32, message: &str) {
        let state = self.state();
        let Some(id) = state.contexts.get(slot).map(|plugin| plugin.id) else { return };
        state.subject = Subject::None;
        state.call_status = (status, message.to_owned());
        let params = (id, call, status);
        let name = "proxy_on_grpc_close";
        let _ = self.call_guest(slot, name, |exports| &exports.on_grpc_close, params);
        self.end_subject();
    }

    fn deliver_http(
        &mut self,
        call: CallId,
        mut headers: HeaderMap,
        body: &[u8],
        mut trailers: HeaderMap,
    ) {
        let rules = self.state().rules;
        if rules.lower_case_names {
            headers.lower_names();
            trailers.lower_names();
        }
        let inline = rules.inline_headers;
        MapRules::of(inline, MapType::HttpCallResponseHeaders).normalize(&mut headers);
        MapRules::of(inline, MapType::HttpCallResponseTrailers).normalize(&mut trailers);
        let sizes = [headers.len() as u32, body.len() as u32, trailers.len() as u32];
        let subject = Subject::HttpCall { headers, body: body.to_vec(), trailers };
        self.call_http_response(call, sizes, subject);
    }

    /// Ends an HTTP call and calls `proxy_on_http_call_response`, which can read `subject`.
    fn call_http_response(
        &mut self,
        call: CallId,
        [headers, body, trailers]: [u32; 3],
        subject: Subject,
    ) {
        let state = self.state();
        let open = state.calls.get(call.0).filter(|open| open.kind == CallKind::Http);
        let Some(slot) = open.map(|open| open.plugin) else { return };
        state.calls.remove(call.0);
        let Some(id) = state.contexts.get(slot).map(|plugin| plugin.id) else { return };
        state.subject = subject;
        let params = (id, call.0, headers, body, trailers);
        let name = "proxy_on_http_call_response";
        let _ = self.call_guest(slot, name, |exports| &exports.on_http_call_response, params);
        // Envoy forgets the response before it applies the guest's actions.
        self.end_subject();
        self.apply_actions();
    }

    /// Makes `subject` readable for the guest. Returns slot and context id of the plugin that
    /// started the call, and the kind of the call.
    fn begin_grpc_event(
        &mut self,
        call: CallId,
        mut subject: Subject,
    ) -> Option<(u32, u32, CallKind)> {
        let state = self.state();
        let has_ended = |kind| matches!(kind, CallKind::GrpcStream { ended: true, .. });
        let open = state.calls.get(call.0);
        let open = open.filter(|open| open.kind != CallKind::Http && !has_ended(open.kind))?;
        let id = state.contexts.get(open.plugin)?.id;
        let kind = match subject {
            Subject::GrpcInitialMetadata(_) => MapType::GrpcCallInitialMetadata,
            _ => MapType::GrpcCallTrailingMetadata,
        };
        if let Subject::GrpcInitialMetadata(map) | Subject::GrpcTrailingMetadata(map) = &mut subject
        {
            if state.rules.lower_case_names {
                map.lower_names();
            }
            MapRules::of(state.rules.inline_headers, kind).normalize(map);
        }
        state.subject = subject;
        Some((open.plugin, id, open.kind))
    }

    /// Applies the guest's actions while the data of the event still exists, as in Envoy.
    fn end_grpc_event(&mut self) {
        self.apply_first_actions(usize::MAX);
        self.end_subject();
        self.apply_actions();
    }

    fn end_subject(&mut self) {
        let state = self.state();
        state.subject = Subject::None;
        // Envoy keeps the code, but not the message.
        state.call_status.1.clear();
    }
}

/// The code that `proxy_get_status` returns in Envoy after a response was cut.
const BROKEN_CONNECTION: u32 = 11;

/// Envoy's local reply to a call whose upstream failed.
fn reset(status: u32, reason: &str) -> LocalReply {
    let body = format!(
        "upstream connect error or disconnect/reset before headers. reset reason: {reason}"
    );
    LocalReply { status, body: body.into_bytes().into(), ..LocalReply::default() }
}
