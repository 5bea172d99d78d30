//! Every scenario holds, however many workers the proxy has and whatever the seed decides.

use crate::program::replay;
use crate::{ALL, configuration, trace};

#[test]
fn every_scenario_holds() {
    for name in ALL {
        for (workers, seed) in [("2", "0"), ("4", "3")] {
            let (configuration, trace) = (configuration(name), trace(name));
            let run =
                replay(["--config", &configuration, "--workers", workers, "--seed", seed, &trace]);
            assert_eq!(run.status, 0, "{name}, {workers} workers, seed {seed}:\n{}", run.stdout);
            assert!(run.stdout.ends_with("expectations held\n"), "{}", run.stdout);
            assert_eq!(run.stderr, "", "{name}");
        }
    }
}

/// A drain needs nothing of Envoy: elsewhere the filter says `connection: close` itself.
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

/// The demonstration is the first thing that a new user sees, and it is a table.
#[test]
fn the_tour_is_short() {
    let text =
        std::fs::read_to_string(crate::program::root().join(trace("tour"))).expect("the tour");
    assert!(text.lines().count() <= 40, "{} events", text.lines().count());
    let longest = text.lines().map(str::len).max();
    assert!(longest <= Some(420), "a line of {longest:?} characters");
}
