//! The proxy around the filter, as its user runs it: the settings that change what clients and
//! upstreams see, presets for common proxies, the plugin, and the clusters that exist.
//!
//! A trace begins with such a [`Setup`], or the embedder passes one in the options of the replay.
//! Envoy's documentation names most settings; a setting here has the name, the unit and the default
//! of Envoy's field.
//!
//! ```text
//! section    what a trace or a file says: every field is optional
//! settings   what the replay applies
//! preset     the defaults of a proxy, as data; with the fields of a section, they are settings
//! edge, path what the settings do to a request before filters run
//! ```

#![allow(missing_docs, reason = "a field whose name says everything has no comment")]

mod actions;
mod address;
mod edge;
mod failure_policy;
mod kind;
mod names;
mod path;
mod plugin;
mod preset;
mod retry;
mod section;
mod settings;
mod setup;

pub use actions::{EscapedSlashes, Underscores};
pub use address::AddressRange;
pub(crate) use edge::apply as apply_client_address;
pub use kind::{Preset, Version};
pub(crate) use path::{Rewritten, rewrite as rewrite_path};
pub use plugin::PluginSection;
pub use retry::{BackOff, RetryCondition, RetryPolicy};
pub use section::ProxySection;
pub use settings::ProxySettings;
pub use setup::Setup;
