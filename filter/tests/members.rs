//! The workers of a process: what each reports adds up, what died goes away, and one of them asks the store.

use proptest::prelude::*;
use sluice_filter::members::{GONE_MS, Membership, Moment, Report, Reported};

const TICK_MS: u64 = 250;

/// Shared data with one key, and the reports of workers to it.
#[derive(Default)]
struct Process(Option<String>);

impl Process {
    fn report(&mut self, who: &mut Membership, in_flight: u64, now_ms: u64) -> Reported {
        self.report_as(who, Report { in_flight, polls: true }, now_ms)
    }

    fn report_as(&mut self, who: &mut Membership, report: Report, now_ms: u64) -> Reported {
        let at = Moment { now_ns: now_ms * 1_000_000, tick_ms: TICK_MS };
        let reported = who.report(self.0.as_deref().map(str::as_bytes), report, at);
        self.0 = reported.write.clone().or(self.0.take());
        reported
    }
}

#[test]
fn what_is_in_flight_adds_up_and_a_dead_worker_takes_its_part_along() {
    let mut process = Process::default();
    let (mut one, mut two) = (Membership::default(), Membership::default());
    assert_eq!(process.report(&mut one, 3, 1_000).in_flight, 3);
    assert_eq!(process.report(&mut two, 4, 1_000).in_flight, 7);
    assert_ne!(one.id(), two.id(), "at one moment, too");
    assert_eq!(process.report(&mut one, 2, 1_250).in_flight, 6);
    let last = 1_000 + GONE_MS;
    assert_eq!(process.report(&mut one, 2, last).in_flight, 6, "it may only be busy");
    assert_eq!(process.report(&mut one, 2, last + 1).in_flight, 2);
    assert_eq!(process.report(&mut two, 5, last + 2).in_flight, 7, "it was only busy");
}

#[test]
fn the_eldest_leads_and_the_next_takes_over_within_two_intervals_of_its_death() {
    let mut process = Process::default();
    let mut workers: Vec<Membership> = (0..3).map(|_| Membership::default()).collect();
    let mut leaders = |alive: std::ops::Range<usize>, now| -> Vec<usize> {
        let led = alive.filter(|index| process.report(&mut workers[*index], 0, now).leads);
        led.collect()
    };
    for tick in 0..8 {
        assert_eq!(leaders(0..3, 1_000 + TICK_MS * tick), [0]);
    }
    let death = 1_000 + TICK_MS * 7;
    let successor = (1..).find(|tick| leaders(1..3, death + TICK_MS * tick) == [1]).unwrap();
    assert!(TICK_MS * successor <= 2 * (2 * TICK_MS), "the shortest interval is two ticks");
}

#[test]
fn a_process_that_stood_still_has_one_leader_when_it_goes_on() {
    let mut process = Process::default();
    let (mut one, mut two) = (Membership::default(), Membership::default());
    for now in [1_000, 1_250] {
        assert!(process.report(&mut one, 0, now).leads);
        assert!(!process.report(&mut two, 0, now).leads);
    }
    // The younger one wakes up first.
    assert!(!process.report(&mut two, 0, 9_000).leads);
    assert!(!process.report(&mut two, 0, 9_000).leads, "nor when its report is made again");
    assert!(process.report(&mut one, 0, 9_001).leads);
    assert!(!process.report(&mut two, 0, 9_250).leads);
}

#[test]
fn only_a_worker_that_has_a_store_leads() {
    let mut process = Process::default();
    let (mut one, mut two) = (Membership::default(), Membership::default());
    let without = Report { in_flight: 0, polls: false };
    assert!(!process.report_as(&mut one, without, 1_000).leads);
    assert!(process.report(&mut two, 0, 1_000).leads);
    assert!(process.report(&mut one, 0, 1_250).leads, "the eldest has one now");
    assert!(!process.report(&mut two, 0, 1_250).leads);
    assert!(!process.report_as(&mut one, without, 1_500).leads, "and now it has not");
    assert!(process.report(&mut two, 0, 1_500).leads);
}

#[test]
fn a_clock_that_jumps_back_leaves_no_lease_that_never_ends() {
    let mut process = Process::default();
    let (mut one, mut two) = (Membership::default(), Membership::default());
    process.report(&mut one, 3, 9_000_000);
    process.report(&mut two, 4, 9_000_000);
    assert!(process.report(&mut two, 4, 1_000_000).leads);
    assert_eq!(process.report(&mut two, 4, 1_000_250).in_flight, 4);
    assert_eq!(process.report(&mut one, 3, 1_000_250).in_flight, 7, "it goes on as it was");
}

#[test]
fn an_unchanged_report_without_a_store_is_not_written_each_time() {
    let mut process = Process::default();
    let mut one = Membership::default();
    let report = Report { in_flight: 1, polls: false };
    assert!(process.report_as(&mut one, report, 1_000).write.is_some());
    assert!(process.report_as(&mut one, report, 1_250).write.is_none());
    assert!(process.report_as(&mut one, report, 1_001 + GONE_MS / 4).write.is_some());
}

proptest! {
    /// Whatever stands there, a report ends up in it and adds up to no less than what is reported.
    #[test]
    fn rubbish_in_shared_data_is_replaced(shared in "\\PC{0,40}|\\[(\\[[0-9]{1,21},[0-9]{1,14},[0-9]{1,12},(true|false|1)\\],?){0,4}\\]") {
        let mut one = Membership::default();
        let at = Moment { now_ns: 5_000_000_000, tick_ms: TICK_MS };
        let report = Report { in_flight: 2, polls: true };
        let reported = one.report(Some(shared.as_bytes()), report, at);
        prop_assert!(reported.in_flight >= 2);
        let written = reported.write.expect("a report");
        let again = one.report(Some(written.as_bytes()), report, at);
        prop_assert_eq!(again.in_flight, reported.in_flight);
    }
}
