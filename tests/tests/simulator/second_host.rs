//! The `generic` profile and `proxy-wasm-host` agree on the guests, apart from the differences that
//! `tests/guests/second-host.yaml` lists with the passage of the specification that decides.

use sluice_tests::guests::{module, rows, second_host};

fn both_hosts_agree(guest: &str, table: &str) {
    let Some(module) = module(guest) else { return };
    let rows = rows(table, guest);
    let Some(differences) = second_host::differences(guest, &module, &rows) else { return };
    assert!(differences.is_empty(), "{guest}: {}", differences.join("\n"));
}

#[test]
fn a_guest_in_rust_behaves_alike_in_proxy_wasm_host() {
    both_hosts_agree("rust", "rows.yaml");
}

#[test]
fn a_guest_in_rust_with_wasi_behaves_alike_in_proxy_wasm_host() {
    both_hosts_agree("rust-wasip1", "rows.yaml");
}

#[test]
fn a_guest_in_assemblyscript_behaves_alike_in_proxy_wasm_host() {
    both_hosts_agree("assemblyscript", "rows.yaml");
}

#[test]
fn a_rate_limiter_in_rust_behaves_alike_in_proxy_wasm_host() {
    both_hosts_agree("rate-limit", "rate-limit.yaml");
}

/// The specification lists eight functions of WASI: `fd_write`, `clock_time_get`, `random_get`,
/// `environ_sizes_get`, `environ_get`, `args_sizes_get`, `args_get` and `proc_exit`.
/// `proxy-wasm-host` has no others. wasi-libc and Go import more, which Envoy and the simulator have.
#[test]
fn proxy_wasm_host_has_only_the_functions_of_wasi_in_the_specification() {
    for (guest, function) in [("c", "fd_close"), ("go", "sched_yield")] {
        let Some(module) = module(guest) else { continue };
        let Some(error) = second_host::error(guest, &module) else { return };
        let import = format!("unknown import: `wasi_snapshot_preview1::{function}`");
        assert!(error.contains(&import), "{guest}: {error}");
    }
}

/// A configuration with a timeout, a limit for uploads, and a health path.
const CONFIGURATION: &str = r#"{"version":1,"drain":{},
    "routes":[
        {"name":"login","match":{"path":{"exact":"/login"}},"timeouts":{"request":"5s"}},
        {"name":"api","match":{"path":{"prefix":"/api/"}},
         "buffering":{"request":"on","max_bytes":10}}],
    "health":{"path":"/health","local":true}}"#;

#[test]
fn the_filter_behaves_alike_in_proxy_wasm_host() {
    let rows = rows("filter.yaml", "sluice");
    let Some(differences) = second_host::filter_differences(CONFIGURATION, &rows) else { return };
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
