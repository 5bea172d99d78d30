//! All expectations of the scenarios hold, with different numbers of workers and seeds.

use crate::program::replay;
use crate::{SCENARIOS, configuration, trace};

#[test]
fn each_scenario_holds() {
    for name in SCENARIOS {
        for (workers, seed) in [("2", "0"), ("4", "3")] {
            let (configuration, trace) = (configuration(name), trace(name));
            let run =
                replay(["--config", &configuration, "--workers", workers, "--seed", seed, &trace]);
            assert_eq!(run.status, 0, "{name}, {workers} workers, seed {seed}:\n{}", run.stdout);
            assert!(run.stdout.ends_with("expectations met\n"), "{}", run.stdout);
            assert_eq!(run.stderr, "", "{name}");
        }
    }
}

/// In other hosts, the filter sends `connection: close` itself.
#[test]
fn blue_green_holds_in_any_proxy_wasm_host() {
    let (configuration, trace) = (configuration("blue-green"), trace("blue-green"));
    for workers in ["1", "4"] {
        let run = replay([
            "--profile",
            "generic",
            "--config",
            &configuration,
            "--workers",
            workers,
            &trace,
        ]);
        assert_eq!(run.status, 0, "{workers} workers:\n{}", run.stdout);
    }
}

/// The demo prints the tour as a table, which must fit on a screen.
#[test]
fn the_tour_is_short() {
    let text =
        std::fs::read_to_string(crate::program::root().join(trace("tour"))).expect("the tour");
    assert!(text.lines().count() <= 40, "{} events", text.lines().count());
    let longest = text.lines().map(str::len).max();
    assert!(longest <= Some(420), "a line of {longest:?} characters");
}
