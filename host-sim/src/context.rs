//! The contexts of one VM: the state of each plugin, HTTP exchange and TCP connection.

mod http;
mod tcp;

use std::sync::Arc;
use std::time::Duration;

use rustc_hash::FxHashMap;
use slab::Slab;

use crate::headers::HeaderMap;
use crate::ids::{PluginId, StreamId};
use crate::options::{PluginOptions, StreamInfo};
use crate::properties::Properties;

pub(crate) use http::Http;
pub(crate) use tcp::Tcp;

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
            Kind::Http(http) => http.kept_bytes(),
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
