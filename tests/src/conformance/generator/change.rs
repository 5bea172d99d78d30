//! The change at the start of a phase.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::configuration;

#[derive(Debug, Clone)]
pub(super) enum Change {
    /// No change.
    Nothing,
    /// A push of a valid configuration.
    Configure(Value),
    /// A push of a configuration that the filter rejects.
    Rejected(Value),
    /// The client of a connection closes it.
    ClientCloses(prop::sample::Index),
}

/// A push of a valid configuration.
pub(super) fn configuration() -> impl Strategy<Value = Change> {
    configuration::valid().prop_map(Change::Configure)
}

/// Any change.
pub(super) fn changes() -> impl Strategy<Value = Change> {
    let rejected = prop::sample::select(vec![
        json!("{"),
        json!({ "version": 2 }),
        json!({ "version": 1, "drain": { "state": { "epoch": 5, "mode": "sleep" } } }),
    ]);
    prop_oneof![
        1 => Just(Change::Nothing),
        4 => configuration(),
        1 => rejected.prop_map(Change::Rejected),
        2 => any::<prop::sample::Index>().prop_map(Change::ClientCloses),
    ]
}
