//! What a client of a real Envoy gets, with the filter as it will be deployed.

#![allow(clippy::disallowed_methods, reason = "a real proxy runs on the wall clock")]

mod envoy {
    mod bodies;
    mod configuration;
    mod drains;
    mod examples;
    mod holding;
    mod hygiene;
    mod retries;
    mod timeouts;
}
