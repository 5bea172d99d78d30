//! Drains under faults: the plans, and a run of a minute (`cargo xtask chaos`).

use std::collections::HashSet;
use std::mem::discriminant;

use sluice_tests::chaos::{EpochPlan, Fault, Length, Mode, Options, Plan, Source, run};

fn epochs(seed: u64, is_soak: bool, number: usize) -> Vec<EpochPlan> {
    let mut plan = Plan::new(seed, is_soak);
    (0..number).map(|_| plan.next_epoch()).collect()
}

/// Everything that the run below needs to have in its plan.
const SEED: u64 = 135;
const EPOCHS: u64 = 6;

#[test]
fn a_seed_has_one_plan() {
    assert_eq!(epochs(7, false, 200), epochs(7, false, 200));
    assert_ne!(epochs(7, false, 200), epochs(8, false, 200));
    assert_eq!(Plan::new(7, false).proxies, Plan::new(7, false).proxies);
}

#[test]
fn every_fault_happens_in_a_plan() {
    for seed in 0..20 {
        let epochs = epochs(seed, false, 60);
        let faults = epochs.iter().flat_map(|epoch| &epoch.faults);
        let kinds: HashSet<_> = faults.map(|planned| discriminant(&planned.fault)).collect();
        assert_eq!(kinds.len(), 12, "seed {seed}");
        let sources: HashSet<_> = epochs.iter().map(|epoch| discriminant(&epoch.source)).collect();
        assert_eq!(sources.len(), 4, "seed {seed}");
        let modes: HashSet<_> = epochs.iter().map(|epoch| discriminant(&epoch.mode)).collect();
        assert_eq!(modes.len(), 3, "seed {seed}");
    }
}

#[test]
fn a_terminate_ends_with_the_next_drain() {
    let epochs = epochs(3, false, 100);
    for pair in epochs.windows(2) {
        assert_eq!(pair[0].mode == Mode::Terminate, pair[1].mode == Mode::Off, "{}", pair[1]);
    }
}

#[test]
fn a_soak_replaces_no_process() {
    let faults = epochs(3, true, 100).into_iter().flat_map(|epoch| epoch.faults);
    let replaces =
        |fault: &Fault| matches!(fault, Fault::HotRestart { .. } | Fault::OwnDrain { .. });
    assert!(!faults.into_iter().any(|planned| replaces(&planned.fault)));
}

/// The seed has a plan with the faults that once made drains late, incomplete or miscounted.
#[test]
fn drains_hold_under_faults_for_a_minute() {
    let planned = epochs(SEED, false, EPOCHS as usize);
    let has = |fits: &dyn Fn(&Fault) -> bool| {
        planned.iter().flat_map(|epoch| &epoch.faults).any(|planned| fits(&planned.fault))
    };
    assert!(planned.iter().any(|epoch| epoch.source == Source::PushWithModule && epoch.is_quick));
    assert!(has(&|fault| matches!(fault, Fault::FastPushes { .. })));
    assert!(has(&|fault| matches!(fault, Fault::Crash { all: true, .. })));
    assert!(has(&|fault| matches!(fault, Fault::HotRestart { .. })));

    let _exclusive = crate::exclusive();
    let options = Options { seed: SEED, length: Length::Epochs(EPOCHS), is_soak: false };
    let outcome = run(options, &|line| println!("{line}"));
    assert!(outcome.holds(), "{outcome}");
}
