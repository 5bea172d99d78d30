//! Host calls that take effect when the running callback has returned, so that the guest is never
//! called recursively. They take effect in the order of the calls, as in Envoy, which has one queue
//! for each VM.

use std::collections::VecDeque;

use crate::abi::StreamType;
use crate::local_reply::LocalReply;

/// What the guest wants for a context.
#[derive(Debug)]
pub(crate) enum Action {
    Continue(StreamType),
    Close(StreamType),
    Reply(Box<LocalReply>),
    Done,
}

/// The queue of one VM.
#[derive(Debug, Default)]
pub(crate) struct Actions {
    /// The id of a context, and what happens to it.
    queue: VecDeque<(u32, Action)>,
}

impl Action {
    /// Whether the exchange ends with the action.
    fn ends_exchange(&self) -> bool {
        matches!(self, Action::Reply(_) | Action::Close(_))
    }
}

impl Actions {
    pub(crate) fn push(&mut self, context: u32, action: Action) {
        self.queue.push_back((context, action));
    }

    pub(crate) fn pop(&mut self) -> Option<(u32, Action)> {
        self.queue.pop_front()
    }

    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(crate) fn clear(&mut self) {
        self.queue.clear();
    }

    /// Whether the exchange of the context is about to end.
    pub(crate) fn end_exchange(&self, context: u32) -> bool {
        self.queue.iter().any(|(of, action)| *of == context && action.ends_exchange())
    }

    /// Keeps of the actions of a context only the first that ends its exchange.
    pub(crate) fn keep_first_end(&mut self, context: u32) {
        let mut is_first = true;
        self.queue.retain(|(of, action)| {
            *of != context || action.ends_exchange() && std::mem::take(&mut is_first)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_end_of_an_exchange_is_kept() {
        let mut actions = Actions::default();
        actions.push(1, Action::Continue(StreamType::HttpRequest));
        actions.push(2, Action::Done);
        actions.push(1, Action::Close(StreamType::HttpRequest));
        actions.push(1, Action::Reply(Box::new(LocalReply::new(403, "", ""))));
        assert!(actions.end_exchange(1) && !actions.end_exchange(2));
        actions.keep_first_end(1);
        assert!(matches!(actions.pop(), Some((2, Action::Done))));
        assert!(matches!(actions.pop(), Some((1, Action::Close(_)))));
        assert!(actions.pop().is_none());
    }
}
