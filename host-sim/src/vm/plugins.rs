//! Plugin contexts, and how contexts of every kind begin and end.

use std::time::Duration;

use super::run::Broken;
use super::{StartError, Vm};
use crate::context::{Kind, Plugin};
use crate::state::Subject;
use crate::stream::{PluginId, PluginOptions, QueueId, StreamId};

impl Vm {
    /// Creates a plugin context and configures it. A new configuration of a plugin that runs is a
    /// new context in the same virtual machine; the embedder then stops the old one.
    ///
    /// # Errors
    /// [`StartError::Refused`] if the guest does not accept its configuration,
    /// [`StartError::Trap`] if it breaks.
    pub fn start_plugin(&mut self, options: PluginOptions) -> Result<PluginId, StartError> {
        let plugin = Plugin { options, tick: None, streams: 0, stopping: false };
        let state = self.state();
        let slot = state.contexts.insert(None, Kind::Plugin(Box::new(plugin)));
        let plugin = state.contexts.plugin_id(slot);
        let refused = match self.configure(slot) {
            Ok(None) => None,
            Ok(Some(callback)) => {
                self.conclude(slot);
                Some(StartError::Refused { callback })
            }
            Err(Broken) => {
                self.state().contexts.remove(slot);
                self.trap.clone().map(|trap| StartError::Trap(Box::new(trap)))
            }
        };
        self.settle();
        refused.map_or(Ok(plugin), Err)
    }

    /// Ends a plugin context as soon as its last stream has ended, with the guest's consent
    /// (`proxy_on_done`, `proxy_done`).
    pub fn stop_plugin(&mut self, plugin: PluginId) {
        let contexts = &mut self.state().contexts;
        let Some(slot) = contexts.plugin_slot(plugin) else { return };
        let Some(plugin) = contexts.plugin_mut(slot).filter(|plugin| !plugin.stopping) else {
            return;
        };
        plugin.stopping = true;
        if plugin.streams == 0 {
            self.end_plugin(slot);
        }
        self.settle();
    }

    /// Calls `proxy_on_tick`. When is the embedder's business; see [`tick_period`](Self::tick_period).
    pub fn tick(&mut self, plugin: PluginId) {
        let Some(slot) = self.state().contexts.plugin_slot(plugin) else { return };
        let _ = self.enter(slot, "proxy_on_tick", |exports| &exports.on_tick, (plugin.context,));
        self.settle();
    }

    /// How often the plugin wants its tick; `None` for never. May change in any callback.
    pub fn tick_period(&self, plugin: PluginId) -> Option<Duration> {
        let contexts = &self.store.data().contexts;
        contexts.plugin(contexts.plugin_slot(plugin)?)?.tick
    }

    /// A queue that the plugin registered has an item; see
    /// [`Process::take_queue_events`](crate::Process::take_queue_events).
    pub fn queue_ready(&mut self, plugin: PluginId, queue: QueueId) {
        let Some(slot) = self.state().contexts.plugin_slot(plugin) else { return };
        let params = (plugin.context, queue.0);
        let _ = self.enter(slot, "proxy_on_queue_ready", |exports| &exports.on_queue_ready, params);
        self.settle();
    }

    /// Calls the plugin's `proxy_on_foreign_function`.
    pub fn call_guest_function(&mut self, plugin: PluginId, function: u32, arguments: &[u8]) {
        let Some(slot) = self.state().contexts.plugin_slot(plugin) else { return };
        self.state().subject = Subject::ForeignArguments(arguments.to_vec());
        let params = (plugin.context, function, arguments.len() as u32);
        let _ = self.enter(
            slot,
            "proxy_on_foreign_function",
            |exports| &exports.on_foreign_function,
            params,
        );
        self.state().subject = Subject::Nothing;
        self.settle();
    }

    /// Opens a stream of a plugin and tells the guest.
    pub(super) fn open_stream(&mut self, plugin: PluginId, kind: Kind) -> StreamId {
        let contexts = &mut self.state().contexts;
        let Some(parent) = contexts.plugin_slot(plugin) else {
            return StreamId { context: 0, slot: 0 };
        };
        if let Some(plugin) = contexts.plugin_mut(parent) {
            plugin.streams += 1;
        }
        let slot = contexts.insert(Some(parent), kind);
        let id = contexts.at(slot).id;
        let _ = self.create(slot, plugin.context);
        self.settle();
        StreamId { context: id, slot }
    }

    /// The last callbacks of an HTTP exchange.
    pub(super) fn end_http(&mut self, slot: u32) {
        let rules = self.state().rules;
        if rules.log_before_done {
            let _ = self.log(slot);
        }
        self.end_stream(slot, rules.log_before_done);
    }

    /// Asks the guest whether it is done with a stream, and if so removes it.
    pub(super) fn end_stream(&mut self, slot: u32, logged: bool) {
        let waits = self.state().rules.streams_wait_for_done;
        if matches!(self.done(slot), Ok(false)) && waits {
            self.state().contexts.at_mut(slot).awaits_done = true;
            return;
        }
        if !logged {
            let _ = self.log(slot);
        }
        self.delete(slot);
    }

    /// The last callbacks of a context with which the guest is done.
    pub(super) fn conclude(&mut self, slot: u32) {
        let logs = match self.state().contexts.at(slot).kind {
            Kind::Plugin(_) => self.state().rules.log_for_plugins,
            Kind::Http(_) => !self.state().rules.log_before_done,
            Kind::Tcp(_) | Kind::Free => true,
        };
        if logs {
            let _ = self.log(slot);
        }
        self.delete(slot);
    }

    fn end_plugin(&mut self, slot: u32) {
        match self.done(slot) {
            Ok(false) => self.state().contexts.at_mut(slot).awaits_done = true,
            Ok(true) | Err(Broken) => self.conclude(slot),
        }
    }

    /// Starts and configures a plugin context; gives the callback that refused, if one did.
    fn configure(&mut self, slot: u32) -> Result<Option<&'static str>, Broken> {
        let id = self.state().contexts.at(slot).id;
        self.create(slot, 0)?;
        if !self.started || self.state().rules.vm_start_per_plugin {
            self.started = true;
            let size = self.state().options.vm_configuration.len() as u32;
            self.state().subject = Subject::VmConfiguration;
            let accepted =
                self.enter(slot, "proxy_on_vm_start", |exports| &exports.on_vm_start, (id, size));
            self.state().subject = Subject::Nothing;
            if accepted? == Some(0) {
                return Ok(Some("proxy_on_vm_start"));
            }
        }
        let configuration =
            self.state().contexts.plugin(slot).map(|plugin| plugin.options.configuration.clone());
        let configuration = configuration.unwrap_or_default();
        let size = configuration.len() as u32;
        self.state().subject = Subject::PluginConfiguration(configuration);
        let accepted =
            self.enter(slot, "proxy_on_configure", |exports| &exports.on_configure, (id, size));
        self.state().subject = Subject::Nothing;
        Ok((accepted? == Some(0)).then_some("proxy_on_configure"))
    }

    fn create(&mut self, slot: u32, parent: u32) -> Result<(), Broken> {
        let id = self.state().contexts.at(slot).id;
        let params = (id, parent);
        self.enter(slot, "proxy_on_context_create", |exports| &exports.on_context_create, params)?;
        Ok(())
    }

    fn done(&mut self, slot: u32) -> Result<bool, Broken> {
        let id = self.state().contexts.at(slot).id;
        let done = self.enter(slot, "proxy_on_done", |exports| &exports.on_done, (id,))?;
        Ok(done != Some(0))
    }

    fn log(&mut self, slot: u32) -> Result<(), Broken> {
        let id = self.state().contexts.at(slot).id;
        self.enter(slot, "proxy_on_log", |exports| &exports.on_log, (id,))?;
        Ok(())
    }

    fn delete(&mut self, slot: u32) {
        let id = self.state().contexts.at(slot).id;
        let _ = self.enter(slot, "proxy_on_delete", |exports| &exports.on_delete, (id,));
        let contexts = &mut self.state().contexts;
        let parent = contexts.at(slot).plugin;
        contexts.remove(slot);
        if parent == slot {
            self.state().calls.pending.retain(|_, call| call.plugin != slot);
            return;
        }
        let Some(plugin) = contexts.plugin_mut(parent) else { return };
        plugin.streams -= 1;
        if plugin.stopping && plugin.streams == 0 {
            self.end_plugin(parent);
        }
    }
}
