//! Which plugin of a VM polls its control store: the one that was configured last, among those with
//! a store.
//!
//! A replaced configuration stays in its plugin while its streams last, and the plugin continues to
//! tick. It must not continue to poll a store that the operator has replaced.

/// The plugins with a store, in the order of their configurations.
#[derive(Debug, Default)]
pub(crate) struct StorePlugins {
    configured: Vec<u32>,
    last_number: u32,
}

impl StorePlugins {
    /// Adds a plugin configuration. Returns its number.
    pub(crate) fn add(&mut self, has_store: bool) -> u32 {
        self.last_number += 1;
        self.configured.extend(has_store.then_some(self.last_number));
        self.last_number
    }

    /// Removes a configuration that was replaced or whose plugin ends.
    pub(crate) fn remove(&mut self, number: u32) {
        self.configured.retain(|configured| *configured != number);
    }

    /// Whether the plugin with this configuration polls.
    pub(crate) fn polls(&self, number: u32) -> bool {
        self.configured.last() == Some(&number)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.configured.is_empty()
    }
}
