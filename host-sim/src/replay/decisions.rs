//! The decisions that a filter reports.
//!
//! A filter reports a decision as a JSON object: it calls a foreign function from the stream's
//! context. The options of the replay name the function. A proxy does not provide it, so the report
//! costs nothing there. The replay keeps the objects with the exchange, and compares the last
//! `route` and the last `reason` with the expectations of the trace.
//!
//! A filter makes few different decisions, each of them many times. Equal ones are parsed and
//! stored once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustc_hash::FxHashMap;
use serde::Deserialize;

use crate::trace::Text;
use crate::{Process, Status, StreamId};

/// The number of different decisions that are cached. A filter that counts its requests in its
/// decisions must not fill the memory.
const MAX_CACHED: usize = 4096;

/// The longest decision, in bytes.
const MAX_TEXT: usize = 16 << 10;

/// The number of decisions that one event can cause.
const MAX_WAITING: usize = 4096;

/// A decision that a filter reported.
#[derive(Clone)]
pub(super) struct Decision {
    /// The JSON object.
    pub(super) text: Arc<str>,
    /// The route; `None` if no route matched.
    pub(super) route: Option<Arc<str>>,
    /// Why the exchange failed.
    pub(super) reason: Option<Arc<str>>,
}

/// The decisions that were reported and not yet taken.
#[derive(Clone, Default)]
pub(super) struct Decisions(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// Whether a decision is waiting, so that most callbacks need no lock.
    waits: AtomicBool,
    reported: Mutex<Reported>,
}

#[derive(Default)]
struct Reported {
    cached: FxHashMap<Arc<str>, Decision>,
    waiting: Vec<(u32, StreamId, Decision)>,
}

impl Decisions {
    /// Provides the foreign function `name` to the guests of `process`. Without a name, no decision
    /// is reported.
    pub(super) fn register(process: &Process, name: Option<&str>) -> Self {
        let decisions = Self::default();
        if let Some(name) = name {
            let sink = decisions.clone();
            process.register_foreign_function(name, move |call, arguments| {
                // A call from a root context checks whether the host provides the function.
                let Some(stream) = call.stream else { return Ok(Vec::new()) };
                let text = std::str::from_utf8(arguments).map_err(|_| Status::ParseFailure)?;
                let mut reported = sink.0.reported.lock().unwrap_or_else(PoisonError::into_inner);
                if text.len() > MAX_TEXT || reported.waiting.len() >= MAX_WAITING {
                    return Err(Status::InternalFailure);
                }
                let decision = reported.decision(text);
                reported.waiting.push((call.worker, stream, decision));
                sink.0.waits.store(true, Ordering::Release);
                Ok(Vec::new())
            });
        }
        decisions
    }

    /// Calls `each` with the worker, stream and decision of each report since the last call.
    pub(super) fn take(&self, mut each: impl FnMut(u32, StreamId, Decision)) {
        if !self.0.waits.swap(false, Ordering::Acquire) {
            return;
        }
        let mut reported = self.0.reported.lock().unwrap_or_else(PoisonError::into_inner);
        for (worker, stream, decision) in reported.waiting.drain(..) {
            each(worker, stream, decision);
        }
    }
}

impl Reported {
    fn decision(&mut self, text: &str) -> Decision {
        if let Some(decision) = self.cached.get(text) {
            return decision.clone();
        }
        let fields = serde_json::from_str::<DecisionFields>(text).unwrap_or_default();
        let shared = |text: Option<Text<'_>>| text.map(|text| Arc::from(&*text));
        let decision = Decision {
            text: text.into(),
            route: shared(fields.route),
            reason: shared(fields.reason),
        };
        if self.cached.len() == MAX_CACHED {
            self.cached.clear();
        }
        self.cached.insert(Arc::clone(&decision.text), decision.clone());
        decision
    }
}

/// The fields that the replay reads. An argument that is not a JSON object has none of them.
#[derive(Default, Deserialize)]
struct DecisionFields<'a> {
    #[serde(borrow)]
    route: Option<Text<'a>>,
    #[serde(borrow)]
    reason: Option<Text<'a>>,
}
