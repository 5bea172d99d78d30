//! Guests in several languages behave as their table says, on Envoy and on the simulator.

use sluice_tests::guests::{differences, module, rows};

/// The table of the guests that implement the specification.
const SPECIFICATION: &str = "rows.yaml";

fn both_hosts_agree(guest: &str, table: &str) {
    let Some(module) = module(guest) else { return };
    let rows = rows(table, guest);
    assert!(rows.len() > 10, "{table} has only {} rows", rows.len());
    let differences = differences(guest, &module, &rows);
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn a_guest_in_c_behaves_as_the_table_says() {
    both_hosts_agree("c", SPECIFICATION);
}

#[test]
fn a_guest_in_go_behaves_as_the_table_says() {
    both_hosts_agree("go", SPECIFICATION);
}

#[test]
fn a_guest_in_assemblyscript_behaves_as_the_table_says() {
    both_hosts_agree("assemblyscript", SPECIFICATION);
}

#[test]
fn a_guest_in_rust_behaves_as_the_table_says() {
    both_hosts_agree("rust", SPECIFICATION);
}

#[test]
fn a_guest_in_rust_with_wasi_behaves_as_the_table_says() {
    both_hosts_agree("rust-wasip1", SPECIFICATION);
}

/// The SDK panics on a status that it does not expect, so a host that returns another status than
/// Envoy crashes this guest.
#[test]
fn a_rate_limiter_in_rust_behaves_as_its_table_says() {
    both_hosts_agree("rate-limit", "rate-limit.yaml");
}
