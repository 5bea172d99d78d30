//! The plugin's calls to clusters, and their results from the trace.

use std::time::Duration;

use crate::replay::error::ReplayError;
use crate::replay::schedule::Wake;
use crate::replay::worker::{CallResult, PendingCall};
use crate::trace::{AttemptEnd, ClusterResponse};
use crate::{CallFailure, CallId, HeaderMap, Vm};

use super::{Engine, header_map};

/// The status `UNAVAILABLE` of gRPC.
const GRPC_UNAVAILABLE: u32 = 14;

impl Engine<'_> {
    /// The result of a call to `cluster` and the time until it, or `None` if the call never ends.
    pub(super) fn call_result(
        &self,
        cluster: &str,
        timeout: Option<Duration>,
        response: CallResult,
    ) -> Option<(Duration, CallResult)> {
        let after = match self.clusters.get(cluster) {
            Some(respond) if respond.end == AttemptEnd::Never => None,
            Some(respond) => Some(respond.after),
            // The call to an unknown cluster fails at once.
            None => Some(Duration::ZERO),
        };
        match (after, timeout) {
            (Some(after), Some(timeout)) if after > timeout => Some((timeout, CallResult::Timeout)),
            (Some(after), _) => Some((after, response)),
            (None, Some(timeout)) => Some((timeout, CallResult::Timeout)),
            (None, None) => None,
        }
    }

    pub(super) fn schedule_call(
        &mut self,
        worker: usize,
        call: CallId,
        cluster: String,
        result: Option<(Duration, CallResult)>,
    ) {
        let Some((after, result)) = result else { return };
        let Some(vm) = self.workers[worker].vm.as_ref().map(Vm::id) else { return };
        let slot = self.calls.insert(PendingCall { worker, vm, call, cluster, result });
        self.schedule.push(self.now + after, Wake::Call(slot as u32));
    }

    /// Delivers the result of a call to the plugin.
    pub(super) fn end_call(&mut self, slot: usize) -> Result<(), ReplayError> {
        let Some(pending) = self.calls.try_remove(slot) else { return Ok(()) };
        let Some(vm) = self.workers[pending.worker].vm.as_mut() else { return Ok(()) };
        if vm.id() != pending.vm {
            return Ok(());
        }
        let respond = self.clusters.get(pending.cluster.as_str()).copied();
        match (pending.result, respond) {
            (CallResult::Http, Some(respond)) if respond.end == AttemptEnd::Complete => {
                let body = respond.body.as_deref().unwrap_or_default();
                let trailers = header_map(&respond.trailers);
                vm.http_call_response(
                    pending.call,
                    response_headers(respond),
                    body.as_bytes(),
                    trailers,
                );
            }
            (CallResult::Grpc, Some(respond)) if respond.end == AttemptEnd::Complete => {
                vm.grpc_initial_metadata(pending.call, header_map(&respond.headers));
                vm.grpc_message(
                    pending.call,
                    respond.body.as_deref().unwrap_or_default().as_bytes(),
                );
            }
            (CallResult::Timeout, _) => vm.http_call_failed(pending.call, CallFailure::Timeout),
            (CallResult::Http, respond) => {
                let has_started = respond.is_some_and(|respond| respond.status.is_some());
                let failure =
                    if has_started { CallFailure::IncompleteResponse } else { CallFailure::Reset };
                vm.http_call_failed(pending.call, failure);
            }
            (CallResult::Grpc, _) => vm.grpc_close(pending.call, GRPC_UNAVAILABLE, ""),
        }
        self.settle(pending.worker)?;
        self.schedule_ticks(pending.worker);
        Ok(())
    }
}

fn response_headers(respond: &ClusterResponse<'_>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.push(":status", respond.status.unwrap_or(200).to_string());
    for (name, value) in &respond.headers {
        headers.push(&**name, &**value);
    }
    headers
}
