//! Plugins, and the first and last callbacks of every context.

use std::time::Duration;

use super::guest::Trapped;
use super::instance::Vm;
use crate::context::{Kind, Plugin};
use crate::error::StartError;
use crate::ids::{PluginId, QueueId, StreamId};
use crate::options::{FailurePolicy, PluginOptions};
use crate::state::Subject;

impl Vm {
    /// Creates a plugin context and configures it. To change the configuration of a plugin, start a
    /// new plugin in the same VM and stop the old one.
    ///
    /// # Errors
    /// [`StartError::Refused`] if the guest refuses the configuration, [`StartError::Trap`] if it
    /// traps.
    pub fn start_plugin(&mut self, options: PluginOptions) -> Result<PluginId, StartError> {
        let plugin = Plugin { options, tick: None, streams: 0, stopping: false };
        let state = self.state();
        let slot = state.contexts.insert(None, Kind::Plugin(Box::new(plugin)));
        let plugin = state.contexts.plugin_id(slot);
        let error = match self.configure(slot) {
            Ok(None) => None,
            Ok(Some(callback)) => {
                self.finish_context(slot);
                Some(StartError::Refused { callback })
            }
            Err(Trapped) => {
                self.state().remove_context(slot);
                self.trap.clone().map(|trap| StartError::Trap(Box::new(trap)))
            }
        };
        self.apply_actions();
        error.map_or(Ok(plugin), Err)
    }

    /// Ends a plugin when its last stream has ended. If `proxy_on_done` returns false, the plugin
    /// ends when the guest calls `proxy_done`.
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
        self.apply_actions();
    }

    /// Calls `proxy_on_tick`. The embedder calls this once in each
    /// [`tick_period`](Self::tick_period).
    pub fn tick(&mut self, plugin: PluginId) {
        let Some(slot) = self.state().contexts.plugin_slot(plugin) else { return };
        let params = (plugin.context,);
        let _ = self.call_guest(slot, "proxy_on_tick", |exports| &exports.on_tick, params);
        self.apply_actions();
    }

    /// The tick period of the plugin; `None` for no ticks. Every callback can change it.
    pub fn tick_period(&self, plugin: PluginId) -> Option<Duration> {
        let contexts = &self.store.data().contexts;
        contexts.plugin(contexts.plugin_slot(plugin)?)?.tick
    }

    /// Calls `proxy_on_queue_ready`. See
    /// [`Process::take_queue_events`](crate::Process::take_queue_events).
    pub fn queue_ready(&mut self, plugin: PluginId, queue: QueueId) {
        let Some(slot) = self.state().contexts.plugin_slot(plugin) else { return };
        let params = (plugin.context, queue.0);
        let name = "proxy_on_queue_ready";
        let _ = self.call_guest(slot, name, |exports| &exports.on_queue_ready, params);
        self.apply_actions();
    }

    /// Calls `proxy_on_foreign_function`.
    pub fn call_guest_function(&mut self, plugin: PluginId, function: u32, arguments: &[u8]) {
        let Some(slot) = self.state().contexts.plugin_slot(plugin) else { return };
        self.state().subject = Subject::ForeignArguments(arguments.to_vec());
        let params = (plugin.context, function, arguments.len() as u32);
        let name = "proxy_on_foreign_function";
        let _ = self.call_guest(slot, name, |exports| &exports.on_foreign_function, params);
        self.state().subject = Subject::None;
        self.apply_actions();
    }

    /// Creates the context of a stream and calls `proxy_on_context_create`.
    pub(super) fn open_stream(&mut self, plugin: PluginId, kind: Kind) -> StreamId {
        let trapped = self.trap.is_some();
        let contexts = &mut self.state().contexts;
        let Some(parent) = contexts.plugin_slot(plugin) else {
            return StreamId { context: 0, slot: 0 };
        };
        let mut bypasses_guest = false;
        if let Some(plugin) = contexts.plugin_mut(parent) {
            plugin.streams += 1;
            bypasses_guest = trapped && plugin.options.failure_policy == FailurePolicy::FailOpen;
        }
        let slot = contexts.insert(Some(parent), kind);
        let context = contexts.at_mut(slot);
        context.bypasses_guest = bypasses_guest;
        let id = context.id;
        let _ = self.on_context_create(slot, plugin.context);
        self.apply_actions();
        StreamId { context: id, slot }
    }

    /// Makes the final callbacks of an HTTP exchange, in the order of the profile.
    pub(super) fn end_http(&mut self, slot: u32) {
        let rules = self.state().rules;
        if rules.log_before_done {
            let _ = self.on_log(slot);
        }
        self.end_stream(slot, rules.log_before_done);
    }

    /// Makes the final callbacks of a stream and removes it, unless the guest needs more time.
    pub(super) fn end_stream(&mut self, slot: u32, logged: bool) {
        let waits = self.state().rules.streams_wait_for_done;
        if matches!(self.on_done(slot), Ok(false)) && waits {
            let state = self.state();
            if state.contexts.waiting() < state.limits.waiting_streams {
                state.contexts.set_waiting(slot);
                return;
            }
        }
        if !logged {
            let _ = self.on_log(slot);
        }
        self.delete(slot);
    }

    /// Makes the callbacks that follow `on_done`, and removes the context.
    pub(super) fn finish_context(&mut self, slot: u32) {
        let logs = match self.state().contexts.at(slot).kind {
            Kind::Plugin(_) => self.state().rules.log_for_plugins,
            Kind::Http(_) => !self.state().rules.log_before_done,
            Kind::Tcp(_) => true,
        };
        if logs {
            let _ = self.on_log(slot);
        }
        self.delete(slot);
    }

    fn end_plugin(&mut self, slot: u32) {
        match self.on_done(slot) {
            Ok(false) => self.state().contexts.set_waiting(slot),
            Ok(true) | Err(Trapped) => self.finish_context(slot),
        }
    }

    /// Starts and configures a plugin. Returns the callback that refused, if there is one.
    fn configure(&mut self, slot: u32) -> Result<Option<&'static str>, Trapped> {
        let id = self.state().contexts.at(slot).id;
        self.on_context_create(slot, 0)?;
        if !self.started || self.state().rules.vm_start_per_plugin {
            self.started = true;
            let params = (id, self.state().options.vm_configuration.len() as u32);
            self.state().subject = Subject::VmConfiguration;
            let name = "proxy_on_vm_start";
            let accepted = self.call_guest(slot, name, |exports| &exports.on_vm_start, params);
            self.state().subject = Subject::None;
            if accepted? == Some(0) {
                return Ok(Some(name));
            }
        }
        let configuration =
            self.state().contexts.plugin(slot).map(|plugin| plugin.options.configuration.clone());
        let configuration = configuration.unwrap_or_default();
        let params = (id, configuration.len() as u32);
        self.state().subject = Subject::PluginConfiguration(configuration);
        let name = "proxy_on_configure";
        let accepted = self.call_guest(slot, name, |exports| &exports.on_configure, params);
        self.state().subject = Subject::None;
        Ok((accepted? == Some(0)).then_some(name))
    }

    fn on_context_create(&mut self, slot: u32, parent: u32) -> Result<(), Trapped> {
        let params = (self.state().contexts.at(slot).id, parent);
        let name = "proxy_on_context_create";
        self.call_guest(slot, name, |exports| &exports.on_context_create, params)?;
        Ok(())
    }

    /// Whether the guest is done with the context.
    fn on_done(&mut self, slot: u32) -> Result<bool, Trapped> {
        let params = (self.state().contexts.at(slot).id,);
        let done = self.call_guest(slot, "proxy_on_done", |exports| &exports.on_done, params)?;
        Ok(done != Some(0))
    }

    fn on_log(&mut self, slot: u32) -> Result<(), Trapped> {
        let params = (self.state().contexts.at(slot).id,);
        let ends = self.state().rules.logged_maps_only_in_log;
        self.state().in_log = Some(slot);
        self.show_logged_maps(slot, true);
        let logged = self.call_guest(slot, "proxy_on_log", |exports| &exports.on_log, params);
        self.state().in_log = None;
        self.show_logged_maps(slot, !ends);
        logged.map(|_| ())
    }

    fn show_logged_maps(&mut self, slot: u32, shows: bool) {
        if let Some(http) = self.state().contexts.http(slot) {
            http.shows_logged_maps = shows;
        }
    }

    /// Calls `proxy_on_delete` and removes the context. A stopping plugin ends with its last
    /// stream.
    fn delete(&mut self, slot: u32) {
        let params = (self.state().contexts.at(slot).id,);
        let _ = self.call_guest(slot, "proxy_on_delete", |exports| &exports.on_delete, params);
        let state = self.state();
        let parent = state.contexts.at(slot).plugin;
        state.remove_context(slot);
        if parent == slot {
            return;
        }
        let Some(plugin) = state.contexts.plugin_mut(parent) else { return };
        plugin.streams -= 1;
        if plugin.stopping && plugin.streams == 0 {
            self.end_plugin(parent);
        }
    }
}
