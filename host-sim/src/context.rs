//! The contexts of one VM: the state of each plugin, HTTP exchange and TCP connection.

use std::sync::Arc;
use std::time::Duration;

use rustc_hash::FxHashMap;
use slab::Slab;

use crate::abi::MapType;
use crate::details::ResponseDetails;
use crate::effect::{Direction, Side};
use crate::flow::Flow;
use crate::headers::HeaderMap;
use crate::ids::{PluginId, StreamId};
use crate::local_reply::{LocalReply, RequestKind};
use crate::options::{PluginOptions, StreamInfo};
use crate::properties::Properties;

/// A plugin or stream context.
#[derive(Debug)]
pub(crate) struct Context {
    /// The context id that the guest sees; never 0.
    pub(crate) id: u32,
    /// The slot of the stream's plugin; for a plugin, its own slot.
    pub(crate) plugin: u32,
    pub(crate) kind: Kind,
    /// Properties that the guest set with `proxy_set_property`.
    pub(crate) guest_properties: Properties,
    pub(crate) pending: Pending,
    /// Whether `on_done` returned false and `proxy_done` has not been called.
    pub(crate) awaits_done: bool,
    /// Whether the stream was opened after a trap and passes without the guest.
    pub(crate) bypasses_guest: bool,
}

#[derive(Debug)]
pub(crate) enum Kind {
    Plugin(Box<Plugin>),
    Http(Box<Http>),
    Tcp(Box<Tcp>),
}

#[derive(Debug)]
pub(crate) struct Plugin {
    pub(crate) options: PluginOptions,
    pub(crate) tick: Option<Duration>,
    /// The number of open streams.
    pub(crate) streams: usize,
    pub(crate) stopping: bool,
}

/// An HTTP exchange.
#[derive(Debug, Default)]
pub(crate) struct Http {
    pub(crate) info: StreamInfo,
    /// When the stream was opened, as time since the epoch.
    pub(crate) opened: Duration,
    pub(crate) request: Flow,
    pub(crate) response: Flow,
    pub(crate) request_kind: RequestKind,
    /// The forwarded maps, for `on_log`: request headers, request trailers, response headers,
    /// response trailers.
    pub(crate) logged: [HeaderMap; 4],
    pub(crate) details: Option<ResponseDetails>,
    /// The status of the response, once it has arrived.
    pub(crate) status: Option<u32>,
    /// Whether the final callbacks have begun.
    pub(crate) closing: bool,
    /// Whether the guest can read the maps in `logged`.
    pub(crate) shows_logged_maps: bool,
    /// Whether the last callback for headers or body, of either direction, announced the end.
    pub(crate) end_of_stream: bool,
    /// The maps of `logged` that the guest can still change, without an effect, because something
    /// else than their own callback continued them.
    pub(crate) continued: [bool; 4],
    /// Whether the guest has continued the request, which ends its access to the maps.
    pub(crate) request_continued: bool,
    /// As `continued`, for the bodies of request and response.
    pub(crate) continued_bodies: [Option<Vec<u8>>; 2],
    /// Whether the stream is reset in both directions.
    pub(crate) reset: bool,
}

impl Http {
    pub(crate) fn flow(&mut self, direction: Direction) -> &mut Flow {
        match direction {
            Direction::Request => &mut self.request,
            Direction::Response => &mut self.response,
        }
    }

    pub(crate) fn add_details(&mut self, details: ResponseDetails) {
        self.details = Some(details.merge(self.details.take()));
    }

    /// The map, if it is not forwarded yet.
    pub(crate) fn open_map(&self, kind: MapType) -> Option<&HeaderMap> {
        match kind {
            MapType::HttpRequestHeaders | MapType::HttpRequestTrailers
                if self.request_continued =>
            {
                None
            }
            MapType::HttpRequestHeaders => self.request.headers(),
            MapType::HttpRequestTrailers => {
                self.request.trailers().or_else(|| self.continued_map(1))
            }
            MapType::HttpResponseHeaders => {
                self.response.headers().or_else(|| self.continued_map(2))
            }
            MapType::HttpResponseTrailers => {
                self.response.trailers().or_else(|| self.continued_map(3))
            }
            _ => None,
        }
    }

    fn continued_map(&self, index: usize) -> Option<&HeaderMap> {
        self.continued[index].then_some(&self.logged[index])
    }

    /// The map, if the guest can change it now. At the end of a body, this adds trailers.
    pub(crate) fn map_mut(&mut self, kind: MapType, end_is_shared: bool) -> Option<&mut HeaderMap> {
        let end = end_is_shared.then_some(self.end_of_stream);
        let (direction, is_trailers) = match kind {
            MapType::HttpRequestHeaders => (Direction::Request, false),
            MapType::HttpRequestTrailers => (Direction::Request, true),
            MapType::HttpResponseHeaders => (Direction::Response, false),
            MapType::HttpResponseTrailers => (Direction::Response, true),
            _ => return None,
        };
        if direction == Direction::Request && self.request_continued {
            return None;
        }
        let index = direction.headers_index() + usize::from(is_trailers);
        let Self { request, response, logged, continued, continued_bodies, .. } = self;
        let flow = match direction {
            Direction::Request => request,
            Direction::Response => response,
        };
        // Envoy adds trailers also to a message that it has sent.
        continued[index] |=
            is_trailers && end == Some(true) && continued_bodies[index / 2].is_some();
        if continued[index] {
            return Some(&mut logged[index]);
        }
        match is_trailers {
            false => flow.headers_mut(),
            true if flow.trailers().is_some() => flow.trailers_mut(),
            true => flow.insert_trailers(end),
        }
    }

    /// Keeps what the guest can access although it is forwarded now: the body and, with `maps`, the
    /// headers and trailers of a response.
    pub(crate) fn keep_access(&mut self, direction: Direction, maps: bool) {
        let index = direction.headers_index();
        let flow = self.flow(direction);
        let (headers, trailers) = (flow.headers().is_some(), flow.trailers().is_some());
        let body = flow.body().is_some().then(Vec::new);
        if maps && direction == Direction::Response {
            self.continued[index] |= headers;
            self.continued[index + 1] |= trailers;
        }
        if body.is_some() {
            self.continued_bodies[index / 2] = body;
        }
    }

    /// The body, if the guest can read it now.
    pub(crate) fn open_body(&self, direction: Direction) -> Option<&[u8]> {
        let [request, response] = &self.continued_bodies;
        match direction {
            Direction::Request => self.request.body().or(request.as_deref()),
            Direction::Response => self.response.body().or(response.as_deref()),
        }
    }

    /// The body, if the guest can change it now.
    pub(crate) fn open_body_mut(&mut self, direction: Direction) -> Option<&mut Vec<u8>> {
        let [request, response] = &mut self.continued_bodies;
        match direction {
            Direction::Request => self.request.body_mut().or(request.as_mut()),
            Direction::Response => self.response.body_mut().or(response.as_mut()),
        }
    }

    /// The request headers for properties: available until they are forwarded, and again when
    /// [`shows_logged_maps`](Self::shows_logged_maps) is set.
    pub(crate) fn request_headers(&self) -> Option<&HeaderMap> {
        self.open_map(MapType::HttpRequestHeaders).or_else(|| self.logged_map(0))
    }

    /// The response headers for properties; see [`request_headers`](Self::request_headers).
    pub(crate) fn response_headers(&self) -> Option<&HeaderMap> {
        self.open_map(MapType::HttpResponseHeaders).or_else(|| self.logged_map(2))
    }

    /// The response trailers for properties; see [`request_headers`](Self::request_headers).
    pub(crate) fn response_trailers(&self) -> Option<&HeaderMap> {
        self.open_map(MapType::HttpResponseTrailers).or_else(|| self.logged_map(3))
    }

    fn logged_map(&self, index: usize) -> Option<&HeaderMap> {
        Some(&self.logged[index]).filter(|map| self.shows_logged_maps && !map.is_empty())
    }

    /// Discards one direction. `on_log` still sees its headers.
    pub(crate) fn discard(&mut self, direction: Direction) {
        let Self { request, response, logged, .. } = self;
        let flow = match direction {
            Direction::Request => request,
            Direction::Response => response,
        };
        if let Some(headers) = flow.discard() {
            logged[direction.headers_index()].clone_from(headers);
        }
    }

    /// Prepares the exchange for a new stream and keeps its allocations.
    fn reopen(&mut self, info: StreamInfo, opened: Duration) {
        self.info = info;
        self.opened = opened;
        self.request.reset();
        self.response.reset();
        self.request_kind = RequestKind::default();
        self.logged.iter_mut().for_each(HeaderMap::clear);
        (self.details, self.status) = (None, None);
        (self.closing, self.shows_logged_maps, self.reset) = (false, false, false);
        (self.end_of_stream, self.request_continued) = (false, false);
        self.continued = [false; 4];
        self.continued_bodies = [None, None];
    }
}

/// A TCP connection.
#[derive(Debug, Default)]
pub(crate) struct Tcp {
    pub(crate) info: StreamInfo,
    /// When the stream was opened, as time since the epoch.
    pub(crate) opened: Duration,
    /// Data from the client.
    pub(crate) downstream: TcpData,
    /// Data from the upstream.
    pub(crate) upstream: TcpData,
    /// Whether `on_new_connection` paused the connection.
    pub(crate) paused: bool,
    pub(crate) downstream_closed: bool,
    pub(crate) upstream_closed: bool,
    pub(crate) failed: bool,
}

impl Tcp {
    pub(crate) fn data(&mut self, side: Side) -> &mut TcpData {
        match side {
            Side::Downstream => &mut self.downstream,
            Side::Upstream => &mut self.upstream,
        }
    }
}

/// Data from one side of a TCP connection.
#[derive(Debug, Default)]
pub(crate) struct TcpData {
    /// Bytes that are not forwarded yet.
    pub(crate) bytes: Vec<u8>,
    /// Whether the side sends no more.
    pub(crate) end: bool,
    /// Whether the guest can access the bytes.
    pub(crate) open: bool,
    /// Whether the end is forwarded.
    pub(crate) end_left: bool,
}

impl TcpData {
    pub(crate) fn open_bytes(&self) -> Option<&[u8]> {
        self.open.then_some(&self.bytes)
    }

    pub(crate) fn open_bytes_mut(&mut self) -> Option<&mut Vec<u8>> {
        self.open.then_some(&mut self.bytes)
    }
}

/// Host calls of the guest that take effect when the running callback has returned. They are flags,
/// so that repeating a call does not use memory.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    /// Whether the context is in the queue of contexts with pending calls.
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

/// All contexts of a VM by slot. Slots are reused; context ids count up, as in Envoy.
#[derive(Debug, Default)]
pub(crate) struct Contexts {
    slots: Slab<Context>,
    by_id: FxHashMap<u32, u32>,
    last_id: u32,
    waiting: usize,
    /// Exchanges that ended and whose allocations are reused.
    #[expect(clippy::vec_box, reason = "the boxes move into contexts and back")]
    http_pool: Vec<Box<Http>>,
}

const OPEN: &str = "the context of a running operation exists";

impl Contexts {
    /// Adds a context and returns its slot. `plugin` is the slot of a stream's plugin.
    pub(crate) fn insert(&mut self, plugin: Option<u32>, kind: Kind) -> u32 {
        let id = self.next_id();
        let entry = self.slots.vacant_entry();
        let slot = entry.key() as u32;
        entry.insert(Context {
            id,
            plugin: plugin.unwrap_or(slot),
            kind,
            guest_properties: Properties::new(),
            pending: Pending::default(),
            awaits_done: false,
            bypasses_guest: false,
        });
        self.by_id.insert(id, slot);
        slot
    }

    pub(crate) fn remove(&mut self, slot: u32) {
        let Some(context) = self.slots.try_remove(slot as usize) else { return };
        self.by_id.remove(&context.id);
        self.waiting -= usize::from(context.awaits_done);
        if let Kind::Http(http) = context.kind {
            self.http_pool.push(http);
        }
    }

    /// Creates an exchange, from the pool if possible.
    pub(crate) fn new_http(&mut self, info: StreamInfo, opened: Duration) -> Box<Http> {
        let mut http = self.http_pool.pop().unwrap_or_default();
        http.reopen(info, opened);
        http
    }

    pub(crate) fn slot_of(&self, id: u32) -> Option<u32> {
        self.by_id.get(&id).copied()
    }

    /// The slot of the stream, if it has not ended.
    pub(crate) fn stream_slot(&self, stream: StreamId) -> Option<u32> {
        self.get(stream.slot).filter(|context| context.id == stream.context).map(|_| stream.slot)
    }

    /// The slot of the plugin, if it has not ended.
    pub(crate) fn plugin_slot(&self, plugin: PluginId) -> Option<u32> {
        self.get(plugin.slot).filter(|context| context.id == plugin.context).map(|_| plugin.slot)
    }

    pub(crate) fn get(&self, slot: u32) -> Option<&Context> {
        self.slots.get(slot as usize)
    }

    pub(crate) fn get_mut(&mut self, slot: u32) -> Option<&mut Context> {
        self.slots.get_mut(slot as usize)
    }

    /// The context of a running operation.
    pub(crate) fn at(&self, slot: u32) -> &Context {
        self.get(slot).expect(OPEN)
    }

    /// The context of a running operation.
    pub(crate) fn at_mut(&mut self, slot: u32) -> &mut Context {
        self.get_mut(slot).expect(OPEN)
    }

    pub(crate) fn plugin(&self, slot: u32) -> Option<&Plugin> {
        match &self.get(slot)?.kind {
            Kind::Plugin(plugin) => Some(plugin),
            Kind::Http(_) | Kind::Tcp(_) => None,
        }
    }

    pub(crate) fn plugin_mut(&mut self, slot: u32) -> Option<&mut Plugin> {
        match &mut self.get_mut(slot)?.kind {
            Kind::Plugin(plugin) => Some(plugin),
            Kind::Http(_) | Kind::Tcp(_) => None,
        }
    }

    /// The plugin to which the context belongs.
    pub(crate) fn plugin_of(&self, slot: u32) -> Option<&Plugin> {
        self.plugin(self.get(slot)?.plugin)
    }

    pub(crate) fn http(&mut self, slot: u32) -> Option<&mut Http> {
        match &mut self.get_mut(slot)?.kind {
            Kind::Http(http) => Some(http),
            Kind::Plugin(_) | Kind::Tcp(_) => None,
        }
    }

    /// Marks a context whose `on_done` returned false.
    pub(crate) fn set_waiting(&mut self, slot: u32) {
        let context = self.at_mut(slot);
        if !std::mem::replace(&mut context.awaits_done, true) {
            self.waiting += 1;
        }
    }

    /// The number of contexts whose `on_done` returned false.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// The bytes of headers, bodies, data and properties that all contexts keep.
    pub(crate) fn kept_bytes(&self) -> usize {
        let contexts = self.slots.iter().map(|(_, context)| context.kept_bytes());
        contexts.fold(0, usize::saturating_add)
    }

    /// The bytes of the header maps of an exchange, which its properties can read.
    pub(crate) fn map_bytes(&self, slot: u32) -> usize {
        match self.get(slot).map(|context| &context.kind) {
            Some(Kind::Http(http)) => {
                let maps = [http.request_headers(), http.response_headers()];
                let maps = maps.into_iter().chain([http.response_trailers()]).flatten();
                maps.map(HeaderMap::serialized_len).sum()
            }
            _ => 0,
        }
    }

    pub(crate) fn tcp(&mut self, slot: u32) -> Option<&mut Tcp> {
        match &mut self.get_mut(slot)?.kind {
            Kind::Tcp(tcp) => Some(tcp),
            Kind::Plugin(_) | Kind::Http(_) => None,
        }
    }

    /// The id of the stream; `None` for a plugin context.
    pub(crate) fn stream_id(&self, slot: u32) -> Option<StreamId> {
        let context = self.get(slot)?;
        match context.kind {
            Kind::Http(_) | Kind::Tcp(_) => Some(StreamId { context: context.id, slot }),
            Kind::Plugin(_) => None,
        }
    }

    /// The id of the plugin to which the context belongs.
    pub(crate) fn plugin_id(&self, slot: u32) -> PluginId {
        let slot = self.get(slot).map_or(slot, |context| context.plugin);
        // A stopped plugin can end before a stream that was opened after the stop.
        PluginId { context: self.get(slot).map_or(0, |plugin| plugin.id), slot }
    }

    fn next_id(&mut self) -> u32 {
        loop {
            self.last_id = self.last_id.wrapping_add(1);
            if self.last_id != 0 && !self.by_id.contains_key(&self.last_id) {
                return self.last_id;
            }
        }
    }
}

impl Context {
    fn kept_bytes(&self) -> usize {
        let stream = match &self.kind {
            Kind::Http(http) => {
                let logged: usize = http.logged.iter().map(HeaderMap::serialized_len).sum();
                http.request.kept_bytes() + http.response.kept_bytes() + logged
            }
            Kind::Tcp(tcp) => tcp.downstream.bytes.len() + tcp.upstream.bytes.len(),
            Kind::Plugin(_) => 0,
        };
        stream + self.guest_properties.cost()
    }

    /// The options of a stream, and when it was opened; `None` for a plugin context.
    pub(crate) fn stream_info(&self) -> Option<(&StreamInfo, Duration)> {
        match &self.kind {
            Kind::Http(http) => Some((&http.info, http.opened)),
            Kind::Tcp(tcp) => Some((&tcp.info, tcp.opened)),
            Kind::Plugin(_) => None,
        }
    }

    /// The properties that the embedder supplied for a stream.
    pub(crate) fn stream_properties(&self) -> Option<&Arc<Properties>> {
        self.stream_info()?.0.properties.as_ref()
    }
}
