//! What a filter says about its decisions.
//!
//! A filter can tell a host that wants to know: it calls a foreign function, whose name the replay's
//! options give, from the stream's context with one JSON object. A proxy does not offer the function, so
//! it costs nothing there. The replay keeps the objects with the exchange, and compares the `route` of
//! the last one that has it with what the trace expects.

use std::sync::{Arc, Mutex, PoisonError};

use crate::{Process, Status, StreamId};

/// Decisions that were reported and not yet taken.
#[derive(Clone, Default)]
pub(super) struct Decisions(Arc<Mutex<Vec<Decision>>>);

struct Decision {
    worker: u32,
    stream: StreamId,
    text: Box<str>,
}

impl Decisions {
    /// Offers the function `name` to the guests of `process`; without a name nobody is told.
    pub(super) fn listen(process: &Process, name: Option<&str>) -> Self {
        let decisions = Self::default();
        if let Some(name) = name {
            let sink = decisions.clone();
            process.register_foreign_function(name, move |call, arguments| {
                // A plugin's context asks whether the function is there.
                let Some(stream) = call.stream else { return Ok(Vec::new()) };
                let text = std::str::from_utf8(arguments).map_err(|_| Status::ParseFailure)?;
                let mut taken = sink.0.lock().unwrap_or_else(PoisonError::into_inner);
                taken.push(Decision { worker: call.worker, stream, text: text.into() });
                Ok(Vec::new())
            });
        }
        decisions
    }

    /// Takes what was reported since the last call.
    pub(super) fn take(&self, mut each: impl FnMut(u32, StreamId, Box<str>)) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for Decision { worker, stream, text } in waiting.drain(..) {
            each(worker, stream, text);
        }
    }
}
