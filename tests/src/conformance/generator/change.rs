//! What changes between the phases of a trace.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::configuration;

/// A change.
#[derive(Debug, Clone)]
pub(super) enum Change {
    /// None.
    Nothing,
    /// A configuration is pushed.
    Configure(Value),
    /// One is pushed that the filter refuses.
    Refused(Value),
    /// The client of a connection goes away.
    Leave(prop::sample::Index),
}

/// A configuration that is accepted.
pub(super) fn configuration() -> impl Strategy<Value = Change> {
    configuration::accepted().prop_map(Change::Configure)
}

/// Any change.
pub(super) fn changes() -> impl Strategy<Value = Change> {
    let refused = prop::sample::select(vec![
        json!("{"),
        json!({ "version": 2 }),
        json!({ "version": 1, "drain": { "state": { "epoch": 5, "mode": "sleep" } } }),
    ]);
    prop_oneof![
        1 => Just(Change::Nothing),
        4 => configuration(),
        1 => refused.prop_map(Change::Refused),
        2 => any::<prop::sample::Index>().prop_map(Change::Leave),
    ]
}
