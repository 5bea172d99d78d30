//! The plugin's own calls to other services, and their answers out of the trace.

use std::time::Duration;

use crate::trace::{End, Respond};
use crate::{CallFailure, CallId, HeaderMap, Vm};

use super::super::ReplayError;
use super::super::schedule::Wake;
use super::super::worker::{Answer, PendingCall};
use super::{Engine, header_map};

impl Engine<'_> {
    /// When a call to `cluster` is answered, and how.
    pub(super) fn call_answer(
        &self,
        cluster: &str,
        limit: Option<Duration>,
        answer: Answer,
    ) -> Option<(Duration, Answer)> {
        let respond = self.clusters.get(cluster);
        let after = match respond {
            Some(respond) if respond.end == End::Never => None,
            Some(respond) => Some(respond.after),
            // Nobody listens there.
            None => Some(Duration::ZERO),
        };
        match (after, limit) {
            (Some(after), Some(limit)) if after > limit => Some((limit, Answer::Timeout)),
            (Some(after), _) => Some((after, answer)),
            (None, Some(limit)) => Some((limit, Answer::Timeout)),
            (None, None) => None,
        }
    }

    pub(super) fn await_call(
        &mut self,
        worker: usize,
        call: CallId,
        cluster: String,
        answer: Option<(Duration, Answer)>,
    ) {
        let Some((after, answer)) = answer else { return };
        let Some(vm) = self.workers[worker].vm.as_ref().map(Vm::id) else { return };
        let pending = PendingCall { worker, vm, call, cluster, answer };
        let index = match self.calls.iter().position(Option::is_none) {
            Some(index) => {
                self.calls[index] = Some(pending);
                index
            }
            None => {
                self.calls.push(Some(pending));
                self.calls.len() - 1
            }
        };
        self.schedule.push(self.now + after, Wake::Call(index as u32));
    }

    /// The answer to a call arrives at the plugin.
    pub(super) fn answer_call(&mut self, index: usize) -> Result<(), ReplayError> {
        let Some(pending) = self.calls[index].take() else { return Ok(()) };
        let Some(vm) = self.workers[pending.worker].vm.as_mut() else { return Ok(()) };
        if vm.id() != pending.vm {
            return Ok(());
        }
        let respond = self.clusters.get(pending.cluster.as_str()).copied();
        match (pending.answer, respond) {
            (Answer::Http, Some(respond)) if respond.end == End::Complete => {
                let body = respond.body.as_deref().unwrap_or_default();
                let trailers = header_map(&respond.trailers);
                vm.http_call_response(
                    pending.call,
                    call_headers(respond),
                    body.as_bytes(),
                    trailers,
                );
            }
            (Answer::Grpc, Some(respond)) if respond.end == End::Complete => {
                vm.grpc_initial_metadata(pending.call, header_map(&respond.headers));
                vm.grpc_message(
                    pending.call,
                    respond.body.as_deref().unwrap_or_default().as_bytes(),
                );
            }
            (Answer::Timeout, _) => vm.http_call_failed(pending.call, CallFailure::Timeout),
            (Answer::Http, respond) => {
                let began = respond.is_some_and(|respond| respond.status.is_some());
                let failure = if began { CallFailure::BrokenOff } else { CallFailure::Reset };
                vm.http_call_failed(pending.call, failure);
            }
            (Answer::Grpc, _) => vm.grpc_close(pending.call, 14, ""),
        }
        self.settle(pending.worker)?;
        self.schedule_ticks(pending.worker);
        Ok(())
    }
}

fn call_headers(respond: &Respond<'_>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.push(":status", respond.status.unwrap_or(200).to_string());
    for (name, value) in &respond.headers {
        headers.push(&**name, &**value);
    }
    headers
}
