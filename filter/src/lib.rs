//! Every decision that Sluice makes about a request, as plain Rust: values in, effects out, no host call.
//!
//! The same code runs in three places: as a wasm32 module in a proxy, as that module in the simulator, and natively in
//! `sluice check` and `sluice explain`. The three cannot disagree.
//!
//! Imports point one way. From the bottom: [`config`] is the document, [`rules`] the compiled rule set, [`load`] leads from one to
//! the other and runs the [`lint`]; [`stream`] decides by the rules, and [`explain`] puts them into words.

pub mod admin;
pub mod buffering;
pub mod config;
pub mod cut;
pub mod decision;
pub mod drain;
pub mod error_pages;
pub mod explain;
mod hash;
pub mod health;
pub mod hygiene;
pub mod lint;
pub mod live;
pub mod load;
pub mod matching;
pub mod members;
pub mod metrics;
pub mod policy;
pub mod reason;
pub mod reply;
pub mod request;
pub mod rules;
#[cfg(target_arch = "wasm32")]
mod shell;
pub mod state;
pub mod stream;

pub use config::ConfigError;
pub use explain::{Effect, Explanation, FailedCondition, Mismatch, Summary, SummaryRow};
pub use lint::{Lint, Warning};
pub use load::{Loaded, load};
pub use request::RequestView;
pub use rules::Rules;
