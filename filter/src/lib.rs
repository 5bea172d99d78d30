//! Every decision that Sluice makes about a request, as plain Rust.
//!
//! The same code runs in three places: as a wasm32 module in a proxy, as that module in the
//! simulator, and natively in `sluice check` and `sluice explain`. The three cannot disagree. The
//! code reaches a host only through the trait [`Host`](host::Host), which `adapter` implements with
//! the host calls of proxy-wasm.
//!
//! Imports point one way. From the bottom: [`config`] is the document, and [`rules`] the compiled
//! rule set. [`load()`] compiles a document and runs the [`lint`]. [`explain`] puts the rules into
//! words. A [`vm`] has the state that all plugins and streams of a worker share. A [`plugin`] has
//! the rules in force, and a [`stream`] applies them.

#[cfg(target_arch = "wasm32")]
mod adapter;
pub mod admin;
pub mod boundary;
pub mod buffering;
pub mod config;
pub mod cut;
pub mod decision;
pub mod drain;
pub mod ending;
pub mod error_pages;
pub mod events;
pub mod explain;
pub mod grpc_health;
mod hash;
pub mod headers;
pub mod health;
mod holding;
pub mod host;
pub mod idle_timers;
pub mod lingering;
pub mod lint;
pub mod load;
pub mod matching;
pub mod members;
pub mod metrics;
pub mod plugin;
mod plugin_config;
pub mod policy;
pub mod proxy_settings;
pub mod reason;
pub mod reply;
pub mod request;
pub mod reserved_headers;
pub mod rules;
mod shared_data;
pub mod state;
pub mod stream;
pub mod vm;
pub mod waiting;

pub use config::ConfigError;
pub use explain::{Effect, Explanation, FailedCondition, Mismatch, Summary, SummaryRow};
pub use headers::Headers;
pub use lint::{Lint, Warning};
pub use load::{Loaded, load};
pub use request::RequestView;
pub use rules::Rules;
