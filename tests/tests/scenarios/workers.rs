//! Workers at the same moment: a replay gives its workers their turns one after the other, a proxy runs each on a thread of its own.

use std::sync::Barrier;

use serde_json::Value;
use sluice_sim::{Effect, HeaderMap, Part, PluginOptions, Process, Profile, Vm, VmOptions};

use super::simulator::module;

const WORKERS: usize = 4;

/// The race was lost within the first hundred.
const ROUNDS: u64 = 500;

const CONFIGURATION: &str = r#"{"version":1,"drain":{"admin":{"path":"/drain",
    "token_sha256":"41ef4bb0b23661e66301aac36066912dac037827b4ae63a7b1165a5aa93ed4eb"}}}"#;

/// Two who command a drain at the same time without an epoch each get one of their own, also when no drain was there before.
#[test]
fn commands_at_the_same_time_take_epochs_one_after_the_other() {
    for round in 0..ROUNDS {
        let process = Process::new(Profile::Envoy, round);
        let barrier = Barrier::new(WORKERS);
        let mut epochs: Vec<u64> = std::thread::scope(|scope| {
            let workers: Vec<_> =
                (0..WORKERS).map(|_| scope.spawn(|| commanded(&process, &barrier))).collect();
            workers.into_iter().map(|worker| worker.join().expect("a worker")).collect()
        });
        epochs.sort_unstable();
        assert_eq!(epochs, (1..=WORKERS as u64).collect::<Vec<_>>(), "in round {round}");
    }
}

/// The epoch that one worker of `process` answers with when it is told to drain.
fn commanded(process: &Process, barrier: &Barrier) -> u64 {
    let mut vm = Vm::new(module(), process, VmOptions::default()).expect("a VM");
    let options = PluginOptions { configuration: CONFIGURATION.into(), ..PluginOptions::default() };
    let plugin = vm.start_plugin(options).expect("the configuration is taken");
    let stream = vm.open_http(plugin, Default::default());
    let headers: HeaderMap = [
        (":method", "POST"),
        (":path", "/drain?mode=reload"),
        (":authority", "proxy"),
        ("authorization", "Bearer open sesame"),
    ]
    .into_iter()
    .collect();
    barrier.wait();
    vm.request_headers(stream, headers, true);
    let mut effects = Vec::new();
    vm.drain_effects(&mut effects);
    let state: Vec<u8> = effects
        .into_iter()
        .filter_map(|effect| match effect {
            Effect::Response { part: Part::Body { bytes, .. }, .. } => Some(bytes),
            _ => None,
        })
        .flatten()
        .collect();
    let state: Value = serde_json::from_slice(&state).expect("the state is JSON");
    state["epoch"].as_u64().unwrap_or_else(|| panic!("an epoch in {state}"))
}

/// A host that creates no value under a condition gets it without one.
#[test]
fn the_first_command_is_written_for_the_other_workers_in_every_host() {
    for profile in [Profile::Envoy, Profile::Generic] {
        let process = Process::new(profile, 1);
        for epoch in 1..=3 {
            assert_eq!(commanded(&process, &Barrier::new(1)), epoch, "{profile:?}");
            let (record, _) = process.shared_data("", b"sluice.drain").expect("it is written");
            let record: Value = serde_json::from_slice(&record).expect("the record is JSON");
            assert_eq!(record["epoch"], epoch, "{profile:?}");
        }
    }
}
