//! WASI preview 1: every function returns and writes the same in Envoy and in the simulator.

use sluice_tests::wasi_guest::compare;

#[test]
fn each_function_returns_the_same_in_both_hosts() {
    for call in compare() {
        assert_eq!(call.envoy, call.simulator, "{}", call.name);
    }
}
