//! The services of a VM: the log, the calls to clusters, and the clusters that exist.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use proxy_wasm_host::abi::v0_2_1::types::{LogLevel, Status};
use proxy_wasm_host::abi::v0_2_1::{
    CalloutId, Callouts, ContextId, GrpcCall, GrpcOpenRefusal, GrpcStream, HttpCall,
    HttpCallRefusal, Invocation, LogContext, LogSink, QueueId,
};

/// The clusters that exist.
const CLUSTERS: [&str; 3] = ["callout", "grpc", "refused"];

/// What the guest did, until the next look.
#[derive(Default)]
pub(crate) struct Recorded {
    /// The log lines, with their levels.
    pub(crate) log: Vec<String>,
    /// The calls that have not been answered.
    pub(crate) calls: Vec<Call>,
    /// The queues that received an item.
    pub(crate) queues: Vec<QueueId>,
}

/// A call to a cluster.
#[derive(Clone)]
pub(crate) struct Call {
    pub(crate) id: CalloutId,
    pub(crate) context: ContextId,
    pub(crate) cluster: String,
    pub(crate) kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Http,
    GrpcUnary,
    GrpcStream,
}

#[derive(Clone, Default)]
pub(crate) struct Services(Arc<Mutex<Recorded>>);

impl Services {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Recorded> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn call(&self, call: Invocation, id: CalloutId, cluster: &[u8], kind: Kind) -> bool {
        let cluster = String::from_utf8_lossy(cluster).into_owned();
        if !CLUSTERS.contains(&cluster.as_str()) {
            return false;
        }
        self.lock().calls.push(Call { id, context: call.context, cluster, kind });
        true
    }
}

impl LogSink for Services {
    fn log(&self, _: LogContext<'_>, level: LogLevel, message: &[u8]) {
        let level = format!("{level:?}").to_lowercase();
        let text = String::from_utf8_lossy(message);
        let lines = text.lines().map(|line| format!("{level} {line}"));
        self.lock().log.extend(lines);
    }
}

impl Callouts for Services {
    fn http_call(
        &self,
        call: Invocation,
        id: CalloutId,
        request: HttpCall<'_>,
    ) -> Result<(), HttpCallRefusal> {
        let is_known = self.call(call, id, &request.upstream, Kind::Http);
        is_known.then_some(()).ok_or(HttpCallRefusal::UnknownUpstream)
    }

    fn grpc_call(
        &self,
        call: Invocation,
        id: CalloutId,
        request: GrpcCall<'_>,
    ) -> Result<(), GrpcOpenRefusal> {
        let is_known = self.call(call, id, &request.upstream, Kind::GrpcUnary);
        is_known.then_some(()).ok_or(GrpcOpenRefusal::UnknownUpstream)
    }

    fn grpc_stream(
        &self,
        call: Invocation,
        id: CalloutId,
        request: GrpcStream<'_>,
    ) -> Result<(), GrpcOpenRefusal> {
        let is_known = self.call(call, id, &request.upstream, Kind::GrpcStream);
        is_known.then_some(()).ok_or(GrpcOpenRefusal::UnknownUpstream)
    }

    fn grpc_send(&self, _: Invocation, _: CalloutId, _: &[u8], _: bool) -> Result<(), Status> {
        Ok(())
    }

    fn grpc_cancel(&self, _: Invocation, id: CalloutId) {
        self.lock().calls.retain(|call| call.id != id);
    }

    fn grpc_close(&self, _: Invocation, _: CalloutId) {}
}
