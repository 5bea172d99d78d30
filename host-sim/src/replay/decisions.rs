//! What a filter says about its decisions.
//!
//! A filter can tell a host that wants to know: it calls a foreign function, whose name the replay's
//! options give, from the stream's context with one JSON object. A proxy does not offer the function, so
//! it costs nothing there. The replay keeps the objects with the exchange, and compares `route` and `reason`,
//! each of the last one that has it, with what the trace expects.
//!
//! A filter makes few different decisions, and each of them many times. Equal ones are kept and read once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;

use crate::trace::Text;
use crate::{Process, Status, StreamId};

/// Different decisions that are remembered at a time: filters make few, but one could count its requests in them.
const MOST_KNOWN: usize = 4096;

/// A filter's words about a decision.
#[derive(Clone)]
pub(super) struct Decision {
    /// The JSON object.
    pub(super) text: Arc<str>,
    /// The route that it names. A decision without one is no mistake: no route matched.
    pub(super) route: Option<Arc<str>>,
    /// Why the exchange failed, if it says that.
    pub(super) reason: Option<Arc<str>>,
}

/// Decisions that were reported and not yet taken.
#[derive(Clone, Default)]
pub(super) struct Decisions(Arc<Mutex<Reported>>);

#[derive(Default)]
struct Reported {
    known: HashMap<Arc<str>, Decision>,
    waiting: Vec<(u32, StreamId, Decision)>,
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
                let mut reported = sink.0.lock().unwrap_or_else(PoisonError::into_inner);
                let decision = reported.decision(text);
                reported.waiting.push((call.worker, stream, decision));
                Ok(Vec::new())
            });
        }
        decisions
    }

    /// Takes what was reported since the last call.
    pub(super) fn take(&self, mut each: impl FnMut(u32, StreamId, Decision)) {
        let mut reported = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (worker, stream, decision) in reported.waiting.drain(..) {
            each(worker, stream, decision);
        }
    }
}

impl Reported {
    fn decision(&mut self, text: &str) -> Decision {
        if let Some(decision) = self.known.get(text) {
            return decision.clone();
        }
        let named = serde_json::from_str::<Named>(text).unwrap_or_default();
        let word = |word: Option<Text<'_>>| word.map(|word| Arc::from(&*word));
        let decision =
            Decision { text: text.into(), route: word(named.route), reason: word(named.reason) };
        if self.known.len() == MOST_KNOWN {
            self.known.clear();
        }
        self.known.insert(Arc::clone(&decision.text), decision.clone());
        decision
    }
}

/// What the replay itself reads of a decision; an argument that is no JSON object names nothing.
#[derive(Default, Deserialize)]
struct Named<'a> {
    #[serde(borrow)]
    route: Option<Text<'a>>,
    #[serde(borrow)]
    reason: Option<Text<'a>>,
}
