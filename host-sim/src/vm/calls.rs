//! Answers to the calls that a guest made on its own account.

use super::{CallFailure, Vm};
use crate::headers::HeaderMap;
use crate::state::{CallKind, Subject};
use crate::stream::CallId;

impl Vm {
    /// The answer to an HTTP call arrived.
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
            state.status = (code.unwrap_or(0), String::new());
        }
        self.answer_http(call, headers, body, trailers);
    }

    /// An HTTP call came to nothing; the guest learns it as the profile has it.
    pub fn http_call_failed(&mut self, call: CallId, failure: CallFailure) {
        let made_up = self.state().rules.failed_call_is_response;
        let (status, body) = match failure {
            _ if !made_up || failure == CallFailure::BrokenOff => {
                self.state().status = (0, String::new());
                return self.answer_http(call, HeaderMap::new(), b"", HeaderMap::new());
            }
            CallFailure::Timeout => ("504", "upstream request timeout"),
            CallFailure::Reset | CallFailure::BrokenOff => (
                "503",
                "upstream connect error or disconnect/reset before headers. \
                 reset reason: connection termination",
            ),
        };
        let mut headers = HeaderMap::new();
        headers.push(":status", status);
        headers.push("content-length", body.len().to_string());
        headers.push("content-type", "text/plain");
        self.answer_http(call, headers, body.as_bytes(), HeaderMap::new());
    }

    /// Initial metadata of a gRPC call arrived.
    pub fn grpc_initial_metadata(&mut self, call: CallId, metadata: HeaderMap) {
        let count = metadata.len() as u32;
        let subject = Subject::GrpcInitialMetadata(metadata);
        let Some((slot, id, _)) = self.answered(call, subject) else { return };
        let name = "proxy_on_grpc_receive_initial_metadata";
        let params = (id, call.0, count);
        let _ = self.enter(slot, name, |exports| &exports.on_grpc_initial_metadata, params);
        self.answer_over();
    }

    /// A message of a gRPC call arrived; it ends a unary call.
    pub fn grpc_message(&mut self, call: CallId, message: &[u8]) {
        let subject = Subject::GrpcMessage(message.to_vec());
        let Some((slot, id, kind)) = self.answered(call, subject) else { return };
        let params = (id, call.0, message.len() as u32);
        let name = "proxy_on_grpc_receive";
        let _ = self.enter(slot, name, |exports| &exports.on_grpc_receive, params);
        if kind == CallKind::GrpcUnary {
            self.state().calls.pending.remove(&call.0);
        }
        self.answer_over();
    }

    /// Trailing metadata of a gRPC call arrived.
    pub fn grpc_trailing_metadata(&mut self, call: CallId, metadata: HeaderMap) {
        let count = metadata.len() as u32;
        let subject = Subject::GrpcTrailingMetadata(metadata);
        let Some((slot, id, _)) = self.answered(call, subject) else { return };
        let name = "proxy_on_grpc_receive_trailing_metadata";
        let params = (id, call.0, count);
        let _ = self.enter(slot, name, |exports| &exports.on_grpc_trailing_metadata, params);
        self.answer_over();
    }

    /// A gRPC call ended with this status (0 is success, 14 a call that could not be made or timed out).
    pub fn grpc_close(&mut self, call: CallId, status: u32, message: &str) {
        let Some((slot, id, _)) = self.answered(call, Subject::Nothing) else { return };
        self.state().calls.pending.remove(&call.0);
        self.state().status = (status, message.to_owned());
        let params = (id, call.0, status);
        let name = "proxy_on_grpc_close";
        let _ = self.enter(slot, name, |exports| &exports.on_grpc_close, params);
        self.answer_over();
    }

    fn answer_http(
        &mut self,
        call: CallId,
        mut headers: HeaderMap,
        body: &[u8],
        mut trailers: HeaderMap,
    ) {
        let state = self.state();
        match state.calls.pending.get(&call.0) {
            Some(pending) if pending.kind == CallKind::Http => {}
            _ => return,
        }
        let Some(pending) = state.calls.pending.remove(&call.0) else { return };
        if state.rules.lower_case_names {
            headers.lower_names();
            trailers.lower_names();
        }
        let (count, trailer_count) = (headers.len() as u32, trailers.len() as u32);
        let id = state.contexts.at(pending.plugin).id;
        state.subject = Subject::HttpCall { headers, body: body.to_vec(), trailers };
        let params = (id, call.0, count, body.len() as u32, trailer_count);
        let name = "proxy_on_http_call_response";
        let _ = self.enter(pending.plugin, name, |exports| &exports.on_http_call_response, params);
        self.answer_over();
    }

    /// The plugin that waits for an answer to a gRPC call; the answer can be read from now on.
    fn answered(&mut self, call: CallId, mut subject: Subject) -> Option<(u32, u32, CallKind)> {
        let state = self.state();
        let pending = state.calls.pending.get(&call.0)?;
        let (slot, kind) = (pending.plugin, pending.kind);
        if kind == CallKind::Http {
            return None;
        }
        if let Subject::GrpcInitialMetadata(map) | Subject::GrpcTrailingMetadata(map) = &mut subject
            && state.rules.lower_case_names
        {
            map.lower_names();
        }
        state.subject = subject;
        Some((slot, state.contexts.at(slot).id, kind))
    }

    fn answer_over(&mut self) {
        self.state().subject = Subject::Nothing;
        self.settle();
    }
}
