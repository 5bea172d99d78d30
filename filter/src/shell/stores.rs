//! Which of a VM's plugin contexts asks its control store: of those that have one, the one configured last.
//!
//! A configuration that was replaced lives on in its context while streams that began under it last, and its context ticks on; but it must
//! not go on asking a store when the operator has named another one.

/// The contexts that have a store, in the order of their configurations.
#[derive(Default)]
pub(super) struct Stores {
    contexts: Vec<u32>,
    made: u32,
}

impl Stores {
    /// A context's configuration was accepted. Returns its number.
    pub(super) fn configured(&mut self, has_store: bool) -> u32 {
        self.made += 1;
        self.contexts.extend(has_store.then_some(self.made));
        self.made
    }

    /// The context with this number ends, or has another configuration.
    pub(super) fn ended(&mut self, number: u32) {
        self.contexts.retain(|known| *known != number);
    }

    /// Whether the context with this number asks.
    pub(super) fn asks(&self, number: u32) -> bool {
        self.contexts.last() == Some(&number)
    }

    /// Whether some context has a store.
    pub(super) fn are_there(&self) -> bool {
        !self.contexts.is_empty()
    }
}
