//! TCP connections: a half for each side, held and let go like bodies.

use super::Vm;
use super::run::Broken;
use crate::abi::Peer;
use crate::context::{Half, Kind, Pending, Tcp};
use crate::effect::{Effect, Side};
use crate::stream::{PluginId, StreamId, StreamInfo};

impl Vm {
    /// Opens a TCP stream of a plugin and calls `proxy_on_new_connection`. If the guest holds the
    /// connection, data that arrives waits until it continues ([`Effect::Connected`]).
    pub fn open_tcp(&mut self, plugin: PluginId, info: StreamInfo) -> StreamId {
        let opened = self.state().process.now();
        let tcp = Tcp { info, opened, ..Tcp::default() };
        let stream = self.open_stream(plugin, Kind::Tcp(Box::new(tcp)));
        let Some(slot) = self.state().contexts.stream_slot(stream) else { return stream };
        let params = (stream.context,);
        let name = "proxy_on_new_connection";
        let answer = self.enter(slot, name, |exports| &exports.on_new_connection, params);
        if let Ok(Some(action)) = answer
            && let Some(tcp) = self.state().contexts.tcp(slot)
        {
            tcp.held = action != 0;
        }
        self.settle();
        stream
    }

    /// Data arrived from the client; `end` if it sends no more.
    pub fn downstream_data(&mut self, stream: StreamId, bytes: &[u8], end: bool) {
        self.data(stream, Side::Downstream, bytes, end);
    }

    /// Data arrived from the upstream; `end` if it sends no more.
    pub fn upstream_data(&mut self, stream: StreamId, bytes: &[u8], end: bool) {
        self.data(stream, Side::Upstream, bytes, end);
        if end && self.state().rules.upstream_end_is_close {
            self.upstream_close(stream, Peer::Unknown);
        }
    }

    /// The client's connection was closed.
    pub fn downstream_close(&mut self, stream: StreamId, by: Peer) {
        let Some(slot) = self.live_tcp(stream) else { return };
        let Some(tcp) = self.state().contexts.tcp(slot) else { return };
        if std::mem::replace(&mut tcp.downstream_closed, true) {
            return;
        }
        let params = (stream.context, by as u32);
        let name = "proxy_on_downstream_connection_close";
        let _ = self.enter(slot, name, |exports| &exports.on_downstream_close, params);
        if self.state().rules.tcp_ends_with_downstream {
            self.end_stream(slot, false);
        }
        self.settle();
    }

    /// The upstream's connection was closed.
    pub fn upstream_close(&mut self, stream: StreamId, by: Peer) {
        let Some(slot) = self.live_tcp(stream) else { return };
        let Some(tcp) = self.state().contexts.tcp(slot) else { return };
        if std::mem::replace(&mut tcp.upstream_closed, true) {
            return;
        }
        let params = (stream.context, by as u32);
        let name = "proxy_on_upstream_connection_close";
        let _ = self.enter(slot, name, |exports| &exports.on_upstream_close, params);
        self.settle();
    }

    /// The connection is over: last callbacks in the profile's order.
    pub fn close_tcp(&mut self, stream: StreamId) {
        let Some(slot) = self.live_tcp(stream) else { return };
        if !self.state().contexts.at(slot).awaits_done {
            self.end_stream(slot, false);
        }
        self.settle();
    }

    pub(super) fn settle_tcp(&mut self, slot: u32, pending: Pending) {
        if pending.continue_downstream {
            self.continue_downstream(slot);
        }
        if pending.continue_upstream {
            self.let_go(slot, Side::Upstream);
        }
        if pending.close_downstream {
            self.close_side(slot, Side::Downstream);
        }
        if pending.close_upstream {
            self.close_side(slot, Side::Upstream);
        }
        if pending.done {
            self.conclude(slot);
        }
    }

    /// After a trap both sides are closed, once.
    pub(super) fn doom_tcp(&mut self, slot: u32) {
        let Some(tcp) = self.state().contexts.tcp(slot) else { return };
        if !std::mem::replace(&mut tcp.failed, true) {
            self.close_side(slot, Side::Downstream);
            self.close_side(slot, Side::Upstream);
        }
    }

    fn data(&mut self, stream: StreamId, side: Side, bytes: &[u8], end: bool) {
        let Some(slot) = self.live_tcp(stream) else { return };
        if self.doom(slot) {
            return;
        }
        let Some(tcp) = self.state().contexts.tcp(slot) else { return };
        let held = tcp.held;
        let half = tcp.half(side);
        if half.end {
            return;
        }
        half.data.extend_from_slice(bytes);
        half.end = end;
        if !held {
            self.ask_about_data(slot, side);
        }
        self.settle();
    }

    fn ask_about_data(&mut self, slot: u32, side: Side) {
        let state = self.state();
        let id = state.contexts.at(slot).id;
        let Some(tcp) = state.contexts.tcp(slot) else { return };
        let half = tcp.half(side);
        half.open = true;
        let params = (id, half.data.len() as u32, half.end.into());
        let answer = match side {
            Side::Downstream => self.enter(
                slot,
                "proxy_on_downstream_data",
                |exports| &exports.on_downstream_data,
                params,
            ),
            Side::Upstream => self.enter(
                slot,
                "proxy_on_upstream_data",
                |exports| &exports.on_upstream_data,
                params,
            ),
        };
        match answer {
            Ok(Some(action)) if action != 0 => {}
            Ok(_) => self.let_go(slot, side),
            Err(Broken) if self.doom(slot) => {}
            Err(Broken) => self.let_go(slot, side),
        }
    }

    fn continue_downstream(&mut self, slot: u32) {
        let stream = self.state().contexts.stream_id(slot);
        let (Some(tcp), Some(stream)) = (self.state().contexts.tcp(slot), stream) else { return };
        if !std::mem::take(&mut tcp.held) {
            return self.let_go(slot, Side::Downstream);
        }
        let waiting = [Side::Downstream, Side::Upstream].map(|side| {
            let half = tcp.half(side);
            (side, !half.data.is_empty() || half.end)
        });
        self.state().effects.push(Effect::Connected { stream });
        for (side, _) in waiting.into_iter().filter(|(_, waits)| *waits) {
            self.ask_about_data(slot, side);
        }
    }

    /// Lets data leave that the guest has seen.
    fn let_go(&mut self, slot: u32, side: Side) {
        let state = self.state();
        let stream = state.contexts.stream_id(slot);
        let (Some(tcp), Some(stream)) = (state.contexts.tcp(slot), stream) else { return };
        let half = tcp.half(side);
        if !std::mem::take(&mut half.open) || half.ended {
            return;
        }
        let (bytes, end) = (std::mem::take(&mut half.data), half.end);
        half.ended = end;
        if bytes.is_empty() && !end {
            return;
        }
        state.effects.push(match side {
            Side::Downstream => Effect::ToUpstream { stream, bytes, end },
            Side::Upstream => Effect::ToDownstream { stream, bytes, end },
        });
    }

    fn close_side(&mut self, slot: u32, side: Side) {
        let state = self.state();
        if let Some(stream) = state.contexts.stream_id(slot) {
            state.effects.push(Effect::CloseConnection { stream, side });
        }
    }

    /// The slot of a connection that has not ended.
    fn live_tcp(&mut self, stream: StreamId) -> Option<u32> {
        let contexts = &mut self.state().contexts;
        let slot = contexts.stream_slot(stream)?;
        contexts.tcp(slot).map(|_| slot)
    }
}

impl Tcp {
    fn half(&mut self, side: Side) -> &mut Half {
        match side {
            Side::Downstream => &mut self.downstream,
            Side::Upstream => &mut self.upstream,
        }
    }
}
