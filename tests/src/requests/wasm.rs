//! Handwritten modules that decide nothing. They export the callbacks of the filter and make the
//! host calls that the filter makes, so that the difference is the filter's own code.

use super::setup::TIMEOUT_MS;

/// The host calls of a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HostCalls {
    /// None: empty callbacks.
    None,
    /// The request headers, and the timeout.
    Timeout,
    /// Also the response headers.
    TimeoutAndResponse,
    /// Also the id of the connection, and the drain marker.
    TimeoutAndDrain,
}

impl HostCalls {
    pub(super) const ALL: [HostCalls; 4] = [
        HostCalls::None,
        HostCalls::Timeout,
        HostCalls::TimeoutAndResponse,
        HostCalls::TimeoutAndDrain,
    ];

    /// The name of the module's file.
    pub(super) fn file(self) -> &'static str {
        match self {
            HostCalls::None => "none.wasm",
            HostCalls::Timeout => "timeout.wasm",
            HostCalls::TimeoutAndResponse => "response.wasm",
            HostCalls::TimeoutAndDrain => "drain.wasm",
        }
    }

    /// The module.
    pub(super) fn module(self) -> Vec<u8> {
        const READ: &str = "(drop (call $pairs (i32.const MAP) (i32.const 0) (i32.const 4)))";
        const SET: &str = "(drop (call $replace (i32.const 0) (i32.const 64) (i32.const 30)
                                 (i32.const 96) (i32.const 4)))";
        const CONNECTION: &str = "(drop (call $property (i32.const 128) (i32.const 13)
                                        (i32.const 0) (i32.const 4)))";
        const REMOVE: &str = "(drop (call $remove (i32.const 2) (i32.const 160) (i32.const 14)))";
        let read = |map: &str| READ.replace("MAP", map);
        let (request, response) = match self {
            HostCalls::None => (String::new(), String::new()),
            HostCalls::Timeout => (read("0") + SET, String::new()),
            HostCalls::TimeoutAndResponse => (read("0") + SET, read("2")),
            HostCalls::TimeoutAndDrain => (read("0") + CONNECTION + SET, REMOVE.to_owned()),
        };
        let text = format!(
            r#"(module
              (import "env" "proxy_get_header_map_pairs" (func $pairs (param i32 i32 i32) (result i32)))
              (import "env" "proxy_replace_header_map_value"
                (func $replace (param i32 i32 i32 i32 i32) (result i32)))
              (import "env" "proxy_remove_header_map_value"
                (func $remove (param i32 i32 i32) (result i32)))
              (import "env" "proxy_get_property" (func $property (param i32 i32 i32 i32) (result i32)))
              (memory (export "memory") 2)
              (data (i32.const 64) "x-envoy-upstream-rq-timeout-ms")
              (data (i32.const 96) "{TIMEOUT_MS}")
              (data (i32.const 128) "connection\00id")
              (data (i32.const 160) "x-sluice-drain")
              (func (export "proxy_abi_version_0_2_1"))
              ;; A value is not read, so one address is enough.
              (func (export "proxy_on_memory_allocate") (param i32) (result i32) (i32.const 4096))
              (func (export "proxy_on_context_create") (param i32 i32))
              (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
                {request} (i32.const 0))
              (func (export "proxy_on_request_body") (param i32 i32 i32) (result i32) (i32.const 0))
              (func (export "proxy_on_request_trailers") (param i32 i32) (result i32) (i32.const 0))
              (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
                {response} (i32.const 0))
              (func (export "proxy_on_response_body") (param i32 i32 i32) (result i32) (i32.const 0))
              (func (export "proxy_on_response_trailers") (param i32 i32) (result i32) (i32.const 0))
              (func (export "proxy_on_log") (param i32))
              (func (export "proxy_on_done") (param i32) (result i32) (i32.const 1))
              (func (export "proxy_on_delete") (param i32)))"#
        );
        wat::parse_str(&text).unwrap_or_else(|error| panic!("an invalid module: {error}"))
    }
}
