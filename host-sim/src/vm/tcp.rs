//! TCP connections: events, callbacks and forwarding of data in both directions.

use super::guest::Trapped;
use super::instance::Vm;
use crate::abi::{Peer, StreamType};
use crate::actions::Action;
use crate::context::{Kind, Tcp};
use crate::effect::{Effect, Side};
use crate::ids::{PluginId, StreamId};
use crate::options::StreamInfo;

impl Vm {
    /// Opens a TCP stream and calls `proxy_on_new_connection`. If the guest pauses the connection,
    /// data waits until the guest continues it ([`Effect::Connected`]).
    pub fn open_tcp(&mut self, plugin: PluginId, info: StreamInfo) -> StreamId {
        let opened = self.state().process.now();
        let tcp = Tcp { info, opened, ..Tcp::default() };
        let stream = self.open_stream(plugin, Kind::Tcp(Box::new(tcp)));
        let Some(slot) = self.state().contexts.stream_slot(stream) else { return stream };
        let params = (stream.context,);
        let name = "proxy_on_new_connection";
        let action = self.call_guest(slot, name, |exports| &exports.on_new_connection, params);
        if let Ok(Some(action)) = action
            && let Some(tcp) = self.state().contexts.tcp(slot)
        {
            tcp.paused = action != 0;
        }
        self.apply_actions();
        stream
    }

    /// Delivers data from the client. `end` is true if the client sends no more.
    pub fn downstream_data(&mut self, stream: StreamId, bytes: &[u8], end: bool) {
        self.on_data(stream, Side::Downstream, bytes, end);
    }

    /// Delivers data from the upstream. `end` is true if the upstream sends no more.
    pub fn upstream_data(&mut self, stream: StreamId, bytes: &[u8], end: bool) {
        self.on_data(stream, Side::Upstream, bytes, end);
        if end && self.state().rules.upstream_end_is_close {
            self.upstream_close(stream, Peer::Unknown);
        }
    }

    /// Notifies the guest that the client's connection is closed.
    pub fn downstream_close(&mut self, stream: StreamId, by: Peer) {
        let Some(slot) = self.tcp_slot(stream) else { return };
        let Some(tcp) = self.state().contexts.tcp(slot) else { return };
        if std::mem::replace(&mut tcp.downstream_closed, true) {
            return;
        }
        let params = (stream.context, by as u32);
        let name = "proxy_on_downstream_connection_close";
        let _ = self.call_guest(slot, name, |exports| &exports.on_downstream_close, params);
        if self.state().rules.tcp_ends_with_downstream {
            self.end_stream(slot, false);
        }
        self.apply_actions();
    }

    /// Notifies the guest that the upstream's connection is closed.
    pub fn upstream_close(&mut self, stream: StreamId, by: Peer) {
        let Some(slot) = self.tcp_slot(stream) else { return };
        let Some(tcp) = self.state().contexts.tcp(slot) else { return };
        if std::mem::replace(&mut tcp.upstream_closed, true) {
            return;
        }
        let params = (stream.context, by as u32);
        let name = "proxy_on_upstream_connection_close";
        let _ = self.call_guest(slot, name, |exports| &exports.on_upstream_close, params);
        self.apply_actions();
    }

    /// Ends the stream and makes its final callbacks.
    pub fn close_tcp(&mut self, stream: StreamId) {
        let Some(slot) = self.tcp_slot(stream) else { return };
        if !self.state().contexts.at(slot).awaits_done {
            self.end_stream(slot, false);
        }
        self.apply_actions();
    }

    pub(super) fn apply_to_tcp(&mut self, slot: u32, action: Action) {
        match action {
            Action::Continue(StreamType::Downstream) => self.continue_downstream(slot),
            Action::Continue(StreamType::Upstream) => self.forward_data(slot, Side::Upstream),
            Action::Close(StreamType::Downstream) => self.close_side(slot, Side::Downstream),
            Action::Close(StreamType::Upstream) => self.close_side(slot, Side::Upstream),
            Action::Done => self.finish_context(slot),
            // The host functions defer these for HTTP only.
            Action::Continue(_) | Action::Close(_) | Action::Reply(_) => {}
        }
    }

    /// After a trap, closes both sides once.
    pub(super) fn fail_tcp(&mut self, slot: u32) {
        let Some(tcp) = self.state().contexts.tcp(slot) else { return };
        if !std::mem::replace(&mut tcp.failed, true) {
            self.close_side(slot, Side::Downstream);
            self.close_side(slot, Side::Upstream);
        }
    }

    fn on_data(&mut self, stream: StreamId, side: Side, bytes: &[u8], end: bool) {
        let Some(slot) = self.tcp_slot(stream) else { return };
        if self.fail_stream(slot) {
            return;
        }
        let Some(tcp) = self.state().contexts.tcp(slot) else { return };
        let paused = tcp.paused;
        let data = tcp.data(side);
        if data.end {
            return;
        }
        data.bytes.extend_from_slice(bytes);
        data.end = end;
        if !paused {
            self.call_on_data(slot, side);
        }
        self.apply_actions();
    }

    fn call_on_data(&mut self, slot: u32, side: Side) {
        let state = self.state();
        let id = state.contexts.at(slot).id;
        let Some(tcp) = state.contexts.tcp(slot) else { return };
        let data = tcp.data(side);
        data.open = true;
        let params = (id, data.bytes.len() as u32, data.end.into());
        let action = match side {
            Side::Downstream => self.call_guest(
                slot,
                "proxy_on_downstream_data",
                |exports| &exports.on_downstream_data,
                params,
            ),
            Side::Upstream => self.call_guest(
                slot,
                "proxy_on_upstream_data",
                |exports| &exports.on_upstream_data,
                params,
            ),
        };
        match action {
            Ok(Some(action)) if action != 0 => {}
            Ok(_) => self.forward_data(slot, side),
            Err(Trapped) if self.fail_stream(slot) => {}
            Err(Trapped) => self.forward_data(slot, side),
        }
    }

    fn continue_downstream(&mut self, slot: u32) {
        let stream = self.state().contexts.stream_id(slot);
        let (Some(tcp), Some(stream)) = (self.state().contexts.tcp(slot), stream) else { return };
        if !std::mem::take(&mut tcp.paused) {
            return self.forward_data(slot, Side::Downstream);
        }
        let waiting = [Side::Downstream, Side::Upstream].map(|side| {
            let data = tcp.data(side);
            (side, !data.bytes.is_empty() || data.end)
        });
        self.state().effects.push(Effect::Connected { stream });
        for (side, _) in waiting.into_iter().filter(|(_, waits)| *waits) {
            self.call_on_data(slot, side);
        }
    }

    /// Forwards the data that the guest has received.
    fn forward_data(&mut self, slot: u32, side: Side) {
        let state = self.state();
        let stream = state.contexts.stream_id(slot);
        let (Some(tcp), Some(stream)) = (state.contexts.tcp(slot), stream) else { return };
        let data = tcp.data(side);
        if !std::mem::take(&mut data.open) || data.end_left {
            return;
        }
        let (bytes, end) = (std::mem::take(&mut data.bytes), data.end);
        data.end_left = end;
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

    /// The slot of a TCP connection that has not ended.
    fn tcp_slot(&mut self, stream: StreamId) -> Option<u32> {
        let contexts = &mut self.state().contexts;
        let slot = contexts.stream_slot(stream)?;
        contexts.tcp(slot).map(|_| slot)
    }
}
