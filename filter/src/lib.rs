//! What Sluice decides about a request, as plain Rust: values in, effects out, no host call.
//!
//! The same rules run in three places: compiled to wasm32 inside a proxy (the shell in `shell`, the only
//! code that knows `proxy-wasm`), in the simulator through that same module, and natively behind `sluice check` and `sluice explain`.
//! Keeping every decision here is what makes those three agree.

pub mod admin;
pub mod buffering;
pub mod config;
pub mod cut;
pub mod decision;
pub mod drain;
pub mod errors;
pub mod explain;
mod hash;
pub mod health;
pub mod hygiene;
pub mod live;
pub mod matching;
pub mod members;
pub mod metrics;
pub mod policy;
pub mod reason;
pub mod request;
#[cfg(target_arch = "wasm32")]
mod shell;
pub mod state;
pub mod stream;

pub use config::{Config, ConfigError, Parsed, Warning};
pub use explain::{Effect, Explanation, FailedCondition, Summary, SummaryRow, Tried};
pub use request::RequestView;
