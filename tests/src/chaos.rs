//! Drains under faults: two real proxies with a real control store, clients that never retry, and a
//! seeded sequence of drains with faults around them.
//!
//! [`run`] executes a [`Plan`]. The clients write a journal, the faults a timeline, and after each
//! drain the verdict compares both.

mod clients;
mod configuration;
mod deck;
mod epoch;
mod fault;
mod inject;
mod journal;
mod keeper;
mod monitor;
mod plan;
mod probe;
mod proxy;
mod resources;
mod run;
mod service;
mod store;
mod table;
mod timeline;
mod verdict;

pub use fault::{Fault, Nonsense, PlannedFault};
pub use plan::{EpochPlan, Mode, PROXIES, Plan, ProxyPlan, Source};
pub use resources::{Growth, Usage};
pub use run::{Length, Options, Outcome, run};
pub use verdict::EpochReport;
