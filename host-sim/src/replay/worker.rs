//! A worker of the simulated proxy: its VM, the plugin in that VM, and when it ticks.

use std::time::Duration;

use crate::{CallId, Direction, HeaderMap, PluginId, StreamId, Vm};

use super::schedule::Entry;

pub(super) struct Worker {
    /// `None` if the proxy has no filter.
    pub(super) vm: Option<Vm>,
    /// The plugin with the configuration in force; `None` before the first configuration.
    pub(super) plugin: Option<PluginId>,
    /// When the VM was created.
    pub(super) loaded_at: Duration,
    /// The plugins that tick: the one in force, and its predecessors while they have streams.
    pub(super) tickers: Vec<Ticker>,
    /// The time before which the worker does not tick.
    pub(super) stalled_until: Duration,
    /// The number of upstream connections that are open and unused.
    pub(super) idle_upstreams: u32,
    /// The context and the exchange of each stream, by the slot of the stream.
    streams: Vec<(u32, u32)>,
}

/// A plugin that ticks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ticker {
    pub(super) plugin: PluginId,
    /// The period with which `next` was scheduled.
    pub(super) period: Option<Duration>,
    /// The entry of the next tick.
    pub(super) next: Entry,
}

/// A call of a plugin without a response so far.
#[derive(Debug, Clone)]
pub(super) struct PendingCall {
    pub(super) worker: usize,
    /// The VM of the plugin; the call ends with it.
    pub(super) vm: u64,
    pub(super) call: CallId,
    /// The cluster that was called.
    pub(super) cluster: String,
    pub(super) kind: CallType,
    /// When the call was started.
    pub(super) started: Duration,
    /// Whether the call ends because of its timeout.
    pub(super) expired: bool,
    /// Whether the plugin has ended its side.
    pub(super) half_closed: bool,
}

/// The kind of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CallType {
    Http,
    GrpcUnary,
    GrpcStream,
}

impl Worker {
    /// A worker without a plugin.
    pub(super) fn new(vm: Option<Vm>) -> Self {
        Self {
            vm,
            plugin: None,
            loaded_at: Duration::ZERO,
            tickers: Vec::new(),
            stalled_until: Duration::ZERO,
            idle_upstreams: 0,
            streams: Vec::new(),
        }
    }

    /// The headers that `on_log` will read; the proxy changes them after its filters.
    pub(super) fn logged_headers(
        &mut self,
        stream: Option<StreamId>,
        direction: Direction,
    ) -> Option<&mut HeaderMap> {
        let (vm, stream) = self.vm.as_mut().zip(stream)?;
        vm.logged_headers(stream, direction)
    }

    /// Whether the VM has crashed.
    pub(super) fn has_crashed(&self) -> bool {
        self.vm.as_ref().is_some_and(|vm| vm.trap().is_some())
    }

    /// Records that `stream` belongs to the exchange in `slot`.
    pub(super) fn bind(&mut self, stream: StreamId, slot: u32) {
        let index = stream.slot as usize;
        if self.streams.len() <= index {
            self.streams.resize(index + 1, (0, 0));
        }
        self.streams[index] = (stream.context, slot);
    }

    /// The slot of the exchange that `stream` belongs to.
    pub(super) fn exchange_of(&self, stream: StreamId) -> Option<u32> {
        let (context, slot) = *self.streams.get(stream.slot as usize)?;
        (context == stream.context).then_some(slot)
    }
}
