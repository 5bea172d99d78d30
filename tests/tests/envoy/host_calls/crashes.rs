//! What clients receive after a crash of the guest, under each failure policy.

use sluice_tests::crash_guest;

#[test]
fn each_failure_policy_has_the_same_effect_in_both_hosts() {
    let expected: [(&str, [u16; 6]); 5] = [
        ("default", [200, 503, 503, 503, 503, 503]),
        ("FAIL_CLOSED", [200, 503, 503, 503, 503, 503]),
        ("FAIL_RELOAD", [200, 503, 200, 503, 503, 200]),
        ("FAIL_OPEN", [200, 503, 200, 200, 200, 200]),
        // A VM is not replaced within five seconds of its start.
        ("5s", [200, 503, 503, 503, 503, 503]),
    ];
    let runs = crash_guest::compare();
    assert_eq!(runs.len(), expected.len());
    for (run, (value, statuses)) in runs.iter().zip(expected) {
        assert_eq!(run.setting.1, value);
        assert_eq!(run.envoy, statuses, "Envoy: {run:?}");
        assert_eq!(run.simulator, statuses, "the simulator: {run:?}");
    }
}
