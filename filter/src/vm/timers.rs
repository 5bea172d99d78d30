//! The idle timers of every plugin in a VM, and what its streams have learned about the host. Both
//! last until the plugin and all of its streams have ended.

use std::sync::Arc;

use slab::Slab;

use crate::error_pages::ErrorContext;
use crate::holding::Holding;
use crate::idle_timers::IdleTimers;
use crate::plugin_config::PluginConfig;

/// The parts of a stream that a tick needs to end it.
#[derive(Debug, Clone)]
pub(crate) struct StreamOwner {
    pub(crate) config: Arc<PluginConfig>,
    pub(crate) route: Option<usize>,
    pub(crate) error_context: ErrorContext,
}

/// Identifies a plugin in the VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PluginId(usize);

#[derive(Debug, Default)]
pub(crate) struct PluginTimers(Slab<Entry>);

#[derive(Debug, Default)]
struct Entry {
    timers: IdleTimers<StreamOwner>,
    holding: Holding,
    /// The plugin, if it has not ended, and its streams.
    users: usize,
}

impl PluginTimers {
    pub(crate) fn add_plugin(&mut self) -> PluginId {
        PluginId(self.0.insert(Entry { users: 1, ..Entry::default() }))
    }

    pub(crate) fn add_stream(&mut self, plugin: PluginId) {
        self.0[plugin.0].users += 1;
    }

    /// The plugin or one of its streams has ended.
    pub(crate) fn release(&mut self, plugin: PluginId) {
        let entry = &mut self.0[plugin.0];
        entry.users -= 1;
        if entry.users == 0 {
            self.0.remove(plugin.0);
        }
    }

    pub(crate) fn of(&self, plugin: PluginId) -> &IdleTimers<StreamOwner> {
        &self.0[plugin.0].timers
    }

    /// Whether streams of this plugin can hold headers. In Envoy, each plugin has its own option.
    pub(crate) fn holding_mut(&mut self, plugin: PluginId) -> &mut Holding {
        &mut self.0[plugin.0].holding
    }

    pub(crate) fn of_mut(&mut self, plugin: PluginId) -> &mut IdleTimers<StreamOwner> {
        &mut self.0[plugin.0].timers
    }
}
