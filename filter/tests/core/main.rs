//! The core of the filter, natively: its parts alone, and whole streams against a host in memory.

mod admin;
mod control;
mod cut;
mod decisions;
mod drain;
mod drain_stream;
mod events;
mod grpc_health;
mod holding;
mod host;
mod idle_timers;
mod lingering;
mod members;
mod metrics;
mod plugin;
mod refusals;
mod streams;
mod waiting;
