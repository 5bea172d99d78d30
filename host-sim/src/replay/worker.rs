//! A worker of the simulated proxy: its virtual machine, the plugin that runs in it, and when it ticks.

use std::time::Duration;

use crate::{CallId, PluginId, StreamId, Vm};

use super::schedule::Entry;

/// A worker.
pub(super) struct Worker {
    /// The virtual machine; `None` where traces are replayed without a filter.
    pub(super) vm: Option<Vm>,
    /// The plugin with the configuration in force; `None` before the first one.
    pub(super) plugin: Option<PluginId>,
    /// The plugins that tick: the one in force, and those before it while they have streams.
    pub(super) tickers: Vec<Ticker>,
    /// Until when it does not tick.
    pub(super) stalled_until: Duration,
    /// Upstream connections that are open and unused.
    pub(super) idle_upstreams: u32,
    /// Which exchange a stream belongs to, by the stream's slot.
    streams: Vec<(u32, u32)>,
}

/// A plugin that ticks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ticker {
    /// The plugin.
    pub(super) plugin: PluginId,
    /// The period that the entry was made for.
    pub(super) period: Option<Duration>,
    /// The entry of its next tick.
    pub(super) next: Entry,
}

/// A call of a plugin that waits for its answer.
#[derive(Debug, Clone)]
pub(super) struct PendingCall {
    /// The worker whose plugin called.
    pub(super) worker: usize,
    /// The virtual machine; a call dies with it.
    pub(super) vm: u64,
    /// The call.
    pub(super) call: CallId,
    /// The cluster that was called.
    pub(super) cluster: String,
    /// What comes of it.
    pub(super) answer: Answer,
}

/// What comes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// What the cluster answers when the time comes.
    Http,
    /// The same, as a gRPC message.
    Grpc,
    /// Nothing within the call's limit.
    Timeout,
}

impl Worker {
    /// A worker without a plugin.
    pub(super) fn new(vm: Option<Vm>) -> Self {
        Self {
            vm,
            plugin: None,
            tickers: Vec::new(),
            stalled_until: Duration::ZERO,
            idle_upstreams: 0,
            streams: Vec::new(),
        }
    }

    /// Remembers that `stream` belongs to the exchange in `slot`.
    pub(super) fn bind(&mut self, stream: StreamId, slot: u32) {
        let index = stream.slot as usize;
        if self.streams.len() <= index {
            self.streams.resize(index + 1, (0, 0));
        }
        self.streams[index] = (stream.context, slot);
    }

    /// The exchange that `stream` belongs to.
    pub(super) fn exchange_of(&self, stream: StreamId) -> Option<u32> {
        let (context, slot) = *self.streams.get(stream.slot as usize)?;
        (context == stream.context).then_some(slot)
    }
}
