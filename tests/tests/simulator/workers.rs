//! Workers on concurrent threads, as in a proxy. A replay runs its workers one after the other.

use std::sync::Barrier;

use serde_json::Value;
use sluice_sim::{Effect, HeaderMap, Part, PluginOptions, Process, Profile, Vm, VmOptions};

use super::replays::module;

const WORKERS: usize = 4;

/// Without compare-and-swap, the race was lost within 100 rounds.
const ROUNDS: u64 = 500;

const CONFIGURATION: &str = r#"{"version":1,"drain":{"admin":{"path":"/drain",
    "token_sha256":"41ef4bb0b23661e66301aac36066912dac037827b4ae63a7b1165a5aa93ed4eb"}}}"#;

/// Also for the first drain, when no record exists.
#[test]
fn concurrent_commands_without_an_epoch_get_different_epochs() {
    for round in 0..ROUNDS {
        let process = Process::new(Profile::Envoy, round);
        let barrier = Barrier::new(WORKERS);
        let mut epochs: Vec<u64> = std::thread::scope(|scope| {
            let workers: Vec<_> =
                (0..WORKERS).map(|_| scope.spawn(|| start_drain(&process, &barrier))).collect();
            workers.into_iter().map(|worker| worker.join().expect("a worker")).collect()
        });
        epochs.sort_unstable();
        assert_eq!(epochs, (1..=WORKERS as u64).collect::<Vec<_>>(), "round {round}");
    }
}

/// Starts a drain through one worker of `process`; returns the epoch in the reply.
fn start_drain(process: &Process, barrier: &Barrier) -> u64 {
    let mut vm = Vm::new(module(), process, VmOptions::default()).expect("a VM");
    let options = PluginOptions::default().with_configuration(CONFIGURATION);
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

/// Some hosts reject a conditional write of a new key; the filter then writes without a condition.
#[test]
fn first_command_reaches_shared_data_in_each_host() {
    for profile in [Profile::Envoy, Profile::Generic] {
        let process = Process::new(profile, 1);
        for epoch in 1..=3 {
            assert_eq!(start_drain(&process, &Barrier::new(1)), epoch, "{profile:?}");
            let (record, _) =
                process.shared_data("", b"sluice.drain").expect("the record has been written");
            let record: Value = serde_json::from_slice(&record).expect("the record is JSON");
            assert_eq!(record["epoch"], epoch, "{profile:?}");
        }
    }
}
