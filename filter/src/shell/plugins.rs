//! Which of a VM's plugin contexts are in force. A configuration that was replaced lives on in its context while streams that began under it
//! last, and its context ticks on; but it must not go on asking a store that the operator has taken out.

use crate::hash::Map;

/// The contexts in force, one for each plugin name.
#[derive(Default)]
pub(super) struct Plugins {
    contexts: Map<Box<[u8]>, Latest>,
    made: u32,
}

struct Latest {
    number: u32,
    polls: bool,
}

impl Plugins {
    /// A context's configuration was accepted; it replaces that of the same plugin. Returns its number.
    pub(super) fn configured(&mut self, name: &[u8], polls: bool) -> u32 {
        self.made += 1;
        self.contexts.insert(name.into(), Latest { number: self.made, polls });
        self.made
    }

    /// Whether the context with this number is in force.
    pub(super) fn is_latest(&self, name: &[u8], number: u32) -> bool {
        self.contexts.get(name).is_some_and(|latest| latest.number == number)
    }

    /// A context ends.
    pub(super) fn ended(&mut self, name: &[u8], number: u32) {
        if self.is_latest(name, number) {
            self.contexts.remove(name);
        }
    }

    /// Whether some context in force has a control store.
    pub(super) fn any_polls(&self) -> bool {
        self.contexts.values().any(|latest| latest.polls)
    }
}
