//! Replays of traces, with and without a filter.

mod callouts;
mod crashes;
mod endings;
mod long_streams;
mod proxy;
mod settings;
mod setup;
mod streaming;
mod ticks;
