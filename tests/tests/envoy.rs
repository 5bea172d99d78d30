//! End-to-end tests: the responses that clients of a real Envoy receive, with the filter deployed
//! as in production.

#![allow(clippy::disallowed_methods, reason = "a real proxy runs on the wall clock")]

use sluice_test_kit::program;

mod envoy {
    mod bodies;
    mod broken;
    mod browsers;
    mod buffering;
    mod compression;
    mod configuration;
    mod control;
    mod control_planes;
    mod crashes;
    mod drain_faults;
    mod drains;
    mod errors;
    mod event_streams;
    mod event_timeouts;
    mod events;
    mod examples;
    mod filter_order;
    mod from_nginx;
    mod grpc_health;
    mod guests;
    mod host_calls;
    mod idle_timeouts;
    mod import;
    mod manifests;
    mod metrics;
    mod nginx;
    mod operator;
    mod pushes;
    mod readme;
    mod refused_uploads;
    mod reserved_headers;
    mod retries;
    mod schemas;
    mod soak;
    mod stream_bounds;
    mod streaming_ai;
    mod timeouts;
    mod walkthroughs;
    mod wasi;
}
