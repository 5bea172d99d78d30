//! The contexts of one virtual machine: what the host knows of each plugin and each stream.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::time::Duration;

use crate::abi::MapType;
use crate::details::ResponseDetails;
use crate::effect::Direction;
use crate::flow::Flow;
use crate::headers::HeaderMap;
use crate::local_reply::LocalReply;
use crate::properties::Properties;
use crate::stream::{PluginId, PluginOptions, StreamId, StreamInfo};

/// A plugin or stream context.
#[derive(Debug)]
pub(crate) struct Context {
    /// The guest's number for it; 0 is nobody's.
    pub(crate) id: u32,
    /// Slot of the plugin context to which it belongs; its own for a plugin.
    pub(crate) plugin: u32,
    pub(crate) kind: Kind,
    /// What the guest stored with `proxy_set_property`.
    pub(crate) stored: Properties,
    pub(crate) pending: Pending,
    /// `on_done` said that the guest is not done, and `proxy_done` has not been called.
    pub(crate) awaits_done: bool,
}

#[derive(Debug)]
pub(crate) enum Kind {
    /// The slot is free.
    Free,
    Plugin(Box<Plugin>),
    Http(Box<Http>),
    Tcp(Box<Tcp>),
}

#[derive(Debug)]
pub(crate) struct Plugin {
    pub(crate) options: PluginOptions,
    pub(crate) tick: Option<Duration>,
    /// Live streams; the plugin outlives them.
    pub(crate) streams: usize,
    pub(crate) stopping: bool,
}

/// An HTTP exchange.
#[derive(Debug, Default)]
pub(crate) struct Http {
    pub(crate) info: StreamInfo,
    /// When it was opened, as time since the epoch.
    pub(crate) opened: Duration,
    pub(crate) request: Flow,
    pub(crate) response: Flow,
    /// What left, for `on_log`: request headers, request trailers, response headers, response trailers.
    pub(crate) logged: [HeaderMap; 4],
    /// Who answers, or why the response breaks off.
    pub(crate) details: Option<ResponseDetails>,
    /// The last callbacks have begun.
    pub(crate) closing: bool,
    /// Cut: nothing goes in or out.
    pub(crate) cut: bool,
}

impl Http {
    pub(crate) fn flow(&mut self, direction: Direction) -> &mut Flow {
        match direction {
            Direction::Request => &mut self.request,
            Direction::Response => &mut self.response,
        }
    }

    /// Notes who answers, or why the response breaks off.
    pub(crate) fn explain(&mut self, details: ResponseDetails) {
        self.details = Some(details.after(self.details.take()));
    }

    /// A map that has not left.
    pub(crate) fn open_map(&self, kind: MapType) -> Option<&HeaderMap> {
        match kind {
            MapType::HttpRequestHeaders => self.request.peek_headers(),
            MapType::HttpRequestTrailers => self.request.peek_trailers(),
            MapType::HttpResponseHeaders => self.response.peek_headers(),
            MapType::HttpResponseTrailers => self.response.peek_trailers(),
            _ => None,
        }
    }

    /// The request's headers for whoever asks about the exchange: while they are here, and at the end.
    pub(crate) fn request_map(&self) -> Option<&HeaderMap> {
        let logged = Some(&self.logged[0]).filter(|map| self.closing && !map.is_empty());
        self.request.peek_headers().or(logged)
    }

    /// The same for the response's.
    pub(crate) fn response_map(&self) -> Option<&HeaderMap> {
        let logged = Some(&self.logged[2]).filter(|map| self.closing && !map.is_empty());
        self.response.peek_headers().or(logged)
    }

    /// The same for the response's trailers.
    pub(crate) fn response_trailers(&self) -> Option<&HeaderMap> {
        let logged = Some(&self.logged[3]).filter(|map| self.closing && !map.is_empty());
        self.response.peek_trailers().or(logged)
    }

    /// Gives up one direction; what `on_log` sees of it stays.
    pub(crate) fn abandon(&mut self, direction: Direction) {
        let held = self.flow(direction).abandon();
        if let Some(headers) = held {
            self.logged[direction.headers_index()] = headers;
        }
    }

    /// Makes the exchange anew and keeps its memory.
    pub(crate) fn reopen(&mut self, info: StreamInfo, opened: Duration) {
        self.info = info;
        self.opened = opened;
        self.request.reset();
        self.response.reset();
        self.logged.iter_mut().for_each(HeaderMap::clear);
        (self.details, self.closing, self.cut) = (None, false, false);
    }
}

/// A TCP connection with its two halves.
#[derive(Debug, Default)]
pub(crate) struct Tcp {
    pub(crate) info: StreamInfo,
    pub(crate) opened: Duration,
    pub(crate) downstream: Half,
    pub(crate) upstream: Half,
    /// `on_new_connection` holds the connection.
    pub(crate) held: bool,
    pub(crate) downstream_closed: bool,
    pub(crate) upstream_closed: bool,
    pub(crate) failed: bool,
}

/// Data from one side of a TCP connection.
#[derive(Debug, Default)]
pub(crate) struct Half {
    pub(crate) data: Vec<u8>,
    pub(crate) end: bool,
    /// The guest was asked about data that has not left.
    pub(crate) open: bool,
    pub(crate) ended: bool,
}

impl Half {
    /// The data, while it can be read.
    pub(crate) fn peek(&self) -> Option<&[u8]> {
        self.open.then_some(&self.data)
    }

    /// The data, while it can be read and changed.
    pub(crate) fn open_data(&mut self) -> Option<&mut Vec<u8>> {
        self.open.then_some(&mut self.data)
    }
}

/// What a guest asked for during a callback, done when the callback has returned. A flag each, so
/// that a guest that asks a million times costs nothing.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    pub(crate) queued: bool,
    pub(crate) continue_request: bool,
    pub(crate) continue_response: bool,
    pub(crate) continue_downstream: bool,
    pub(crate) continue_upstream: bool,
    pub(crate) close_downstream: bool,
    pub(crate) close_upstream: bool,
    pub(crate) reset: bool,
    pub(crate) reply: Option<Box<LocalReply>>,
    pub(crate) done: bool,
}

/// All contexts, by slot; slots of ended contexts are used again, numbers never.
#[derive(Debug, Default)]
pub(crate) struct Contexts {
    slots: Vec<Context>,
    free: Vec<u32>,
    by_id: HashMap<u32, u32, BuildHasherDefault<IdHasher>>,
    last_id: u32,
    /// Ended exchanges whose memory the next ones use.
    #[expect(clippy::vec_box, reason = "the boxes themselves move into contexts and back")]
    spare_http: Vec<Box<Http>>,
}

impl Contexts {
    pub(crate) fn insert(&mut self, plugin: Option<u32>, kind: Kind) -> u32 {
        let id = self.fresh_id();
        let slot = self.free.pop().unwrap_or(self.slots.len() as u32);
        let plugin = plugin.unwrap_or(slot);
        if slot as usize == self.slots.len() {
            self.slots.push(Context {
                id,
                plugin,
                kind,
                stored: Properties::new(),
                pending: Pending::default(),
                awaits_done: false,
            });
        } else {
            let context = &mut self.slots[slot as usize];
            (context.id, context.plugin, context.kind) = (id, plugin, kind);
        }
        self.by_id.insert(id, slot);
        slot
    }

    pub(crate) fn remove(&mut self, slot: u32) {
        let context = &mut self.slots[slot as usize];
        self.by_id.remove(&context.id);
        context.id = 0;
        context.stored.clear();
        context.pending = Pending::default();
        context.awaits_done = false;
        if let Kind::Http(http) = std::mem::replace(&mut context.kind, Kind::Free) {
            self.spare_http.push(http);
        }
        self.free.push(slot);
    }

    /// An exchange whose memory may have been used before.
    pub(crate) fn new_http(&mut self, info: StreamInfo, opened: Duration) -> Box<Http> {
        let mut http = self.spare_http.pop().unwrap_or_default();
        http.reopen(info, opened);
        http
    }

    pub(crate) fn slot_of(&self, id: u32) -> Option<u32> {
        self.by_id.get(&id).copied()
    }

    /// The slot of a stream that has not ended.
    pub(crate) fn stream_slot(&self, stream: StreamId) -> Option<u32> {
        let context = self.slots.get(stream.slot as usize)?;
        (context.id == stream.context && context.id != 0).then_some(stream.slot)
    }

    /// The slot of a plugin context that has not ended.
    pub(crate) fn plugin_slot(&self, plugin: PluginId) -> Option<u32> {
        let context = self.slots.get(plugin.slot as usize)?;
        (context.id == plugin.context && context.id != 0).then_some(plugin.slot)
    }

    pub(crate) fn at(&self, slot: u32) -> &Context {
        &self.slots[slot as usize]
    }

    pub(crate) fn at_mut(&mut self, slot: u32) -> &mut Context {
        &mut self.slots[slot as usize]
    }

    pub(crate) fn plugin(&self, slot: u32) -> Option<&Plugin> {
        match &self.at(slot).kind {
            Kind::Plugin(plugin) => Some(plugin),
            _ => None,
        }
    }

    pub(crate) fn plugin_mut(&mut self, slot: u32) -> Option<&mut Plugin> {
        match &mut self.at_mut(slot).kind {
            Kind::Plugin(plugin) => Some(plugin),
            _ => None,
        }
    }

    pub(crate) fn http(&mut self, slot: u32) -> Option<&mut Http> {
        match &mut self.at_mut(slot).kind {
            Kind::Http(http) => Some(http),
            _ => None,
        }
    }

    pub(crate) fn tcp(&mut self, slot: u32) -> Option<&mut Tcp> {
        match &mut self.at_mut(slot).kind {
            Kind::Tcp(tcp) => Some(tcp),
            _ => None,
        }
    }

    pub(crate) fn stream_id(&self, slot: u32) -> Option<StreamId> {
        let context = self.at(slot);
        match context.kind {
            Kind::Http(_) | Kind::Tcp(_) => Some(StreamId { context: context.id, slot }),
            Kind::Plugin(_) | Kind::Free => None,
        }
    }

    /// The plugin context to which the context in this slot belongs.
    pub(crate) fn plugin_id(&self, slot: u32) -> PluginId {
        let slot = self.at(slot).plugin;
        PluginId { context: self.at(slot).id, slot }
    }

    fn fresh_id(&mut self) -> u32 {
        loop {
            self.last_id = self.last_id.wrapping_add(1);
            if self.last_id != 0 && !self.by_id.contains_key(&self.last_id) {
                return self.last_id;
            }
        }
    }
}

/// What the host knows of the stream in a context, if it is one.
impl Context {
    pub(crate) fn info(&self) -> Option<(&StreamInfo, Duration)> {
        match &self.kind {
            Kind::Http(http) => Some((&http.info, http.opened)),
            Kind::Tcp(tcp) => Some((&tcp.info, tcp.opened)),
            Kind::Plugin(_) | Kind::Free => None,
        }
    }

    pub(crate) fn extra(&self) -> Option<&Arc<Properties>> {
        self.info()?.0.properties.as_ref()
    }
}

/// Context numbers count up, so that multiplying spreads them well enough.
#[derive(Default)]
pub(crate) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 << 8) | u64::from(byte);
        }
    }

    fn write_u32(&mut self, id: u32) {
        self.0 = u64::from(id).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
