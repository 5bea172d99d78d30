//! The VMs of a process: their reports add up, a crashed VM expires, and one VM is the leader.

use proptest::prelude::*;
use sluice_filter::members::{GONE_MS, Membership, Report, ReportTime, Reported};

const TICK_MS: u64 = 250;

/// Shared data with one key, and the reports of workers to it.
#[derive(Default)]
struct Process(Option<String>);

impl Process {
    fn report(&mut self, vm: &mut Membership, in_flight: u64, now_ms: u64) -> Reported {
        self.report_as(vm, Report { in_flight, can_poll: true }, now_ms)
    }

    fn report_as(&mut self, vm: &mut Membership, report: Report, now_ms: u64) -> Reported {
        let at = ReportTime { now_ns: now_ms * 1_000_000, tick_ms: TICK_MS };
        let reported = vm.report(self.0.as_deref().map(str::as_bytes), report, at);
        self.0 = reported.write.clone().or(self.0.take());
        reported
    }
}

#[test]
fn in_flight_requests_add_up_and_those_of_a_crashed_vm_expire() {
    let mut process = Process::default();
    let (mut one, mut two) = (Membership::default(), Membership::default());
    assert_eq!(process.report(&mut one, 3, 1_000).in_flight, 3);
    assert_eq!(process.report(&mut two, 4, 1_000).in_flight, 7);
    assert_ne!(one.id(), two.id(), "even at the same time");
    assert_eq!(process.report(&mut one, 2, 1_250).in_flight, 6);
    let last = 1_000 + GONE_MS;
    assert_eq!(process.report(&mut one, 2, last).in_flight, 6, "it may only be busy");
    assert_eq!(process.report(&mut one, 2, last + 1).in_flight, 2);
    assert_eq!(process.report(&mut two, 5, last + 2).in_flight, 7, "it was only busy");
}

#[test]
fn the_oldest_vm_leads_and_the_next_takes_over_within_two_intervals() {
    let mut process = Process::default();
    let mut workers: Vec<Membership> = (0..3).map(|_| Membership::default()).collect();
    let mut leaders = |alive: std::ops::Range<usize>, now| -> Vec<usize> {
        let led = alive.filter(|index| process.report(&mut workers[*index], 0, now).is_leader);
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
fn a_suspended_process_has_one_leader_when_it_continues() {
    let mut process = Process::default();
    let (mut one, mut two) = (Membership::default(), Membership::default());
    for now in [1_000, 1_250] {
        assert!(process.report(&mut one, 0, now).is_leader);
        assert!(!process.report(&mut two, 0, now).is_leader);
    }
    // The younger one wakes up first.
    assert!(!process.report(&mut two, 0, 9_000).is_leader);
    assert!(!process.report(&mut two, 0, 9_000).is_leader, "nor when its report is made again");
    assert!(process.report(&mut one, 0, 9_001).is_leader);
    assert!(!process.report(&mut two, 0, 9_250).is_leader);
}

#[test]
fn only_a_vm_with_a_store_leads() {
    let mut process = Process::default();
    let (mut one, mut two) = (Membership::default(), Membership::default());
    let without = Report { in_flight: 0, can_poll: false };
    assert!(!process.report_as(&mut one, without, 1_000).is_leader);
    assert!(process.report(&mut two, 0, 1_000).is_leader);
    assert!(process.report(&mut one, 0, 1_250).is_leader, "the oldest has one now");
    assert!(!process.report(&mut two, 0, 1_250).is_leader);
    assert!(!process.report_as(&mut one, without, 1_500).is_leader, "and now it has not");
    assert!(process.report(&mut two, 0, 1_500).is_leader);
}

#[test]
fn leases_expire_after_a_clock_jumps_back() {
    let mut process = Process::default();
    let (mut one, mut two) = (Membership::default(), Membership::default());
    process.report(&mut one, 3, 9_000_000);
    process.report(&mut two, 4, 9_000_000);
    assert!(process.report(&mut two, 4, 1_000_000).is_leader);
    assert_eq!(process.report(&mut two, 4, 1_000_250).in_flight, 4);
    assert_eq!(process.report(&mut one, 3, 1_000_250).in_flight, 7, "it continues as before");
}

#[test]
fn an_unchanged_report_without_a_store_is_rarely_written() {
    let mut process = Process::default();
    let mut one = Membership::default();
    let report = Report { in_flight: 1, can_poll: false };
    assert!(process.report_as(&mut one, report, 1_000).write.is_some());
    assert!(process.report_as(&mut one, report, 1_250).write.is_none());
    assert!(process.report_as(&mut one, report, 1_001 + GONE_MS / 4).write.is_some());
}

proptest! {
    /// A report is written whatever shared data contains. The sum is never below the VM's own
    /// requests.
    #[test]
    fn invalid_shared_data_is_replaced(shared in "\\PC{0,40}|\\[(\\[[0-9]{1,21},[0-9]{1,14},[0-9]{1,12},(true|false|1)\\],?){0,4}\\]") {
        let mut one = Membership::default();
        let at = ReportTime { now_ns: 5_000_000_000, tick_ms: TICK_MS };
        let report = Report { in_flight: 2, can_poll: true };
        let reported = one.report(Some(shared.as_bytes()), report, at);
        prop_assert!(reported.in_flight >= 2);
        let written = reported.write.expect("a report");
        let again = one.report(Some(written.as_bytes()), report, at);
        prop_assert_eq!(again.in_flight, reported.in_flight);
    }
}
