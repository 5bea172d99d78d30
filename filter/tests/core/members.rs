//! The VMs of a process: their reports add up, a crashed VM expires, and one VM is the leader.

use std::collections::BTreeSet;

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
        if let Some(written) = &reported.write {
            self.0 = Some(written.clone());
            vm.confirm_write();
        }
        reported
    }

    /// Whether the VM leads after a report.
    fn leads(&mut self, vm: &mut Membership, now_ms: u64) -> bool {
        self.report(vm, 0, now_ms);
        vm.is_leader()
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
    for now in (1_500..=last).step_by(250) {
        assert_eq!(process.report(&mut one, 2, now).in_flight, 6, "it may only be busy");
    }
    assert_eq!(process.report(&mut one, 2, last + 1).in_flight, 2);
    assert_eq!(process.report(&mut two, 5, last + 2).in_flight, 7, "it was only busy");
}

#[test]
fn a_suspended_process_counts_the_requests_of_all_its_vms_when_it_continues() {
    let mut process = Process::default();
    let (mut one, mut two) = (Membership::default(), Membership::default());
    process.report(&mut one, 3, 1_000);
    process.report(&mut two, 4, 1_000);
    let awake = 1_000 + 10 * GONE_MS;
    assert_eq!(process.report(&mut one, 3, awake).in_flight, 7);
    assert_eq!(process.report(&mut one, 3, awake + 250).in_flight, 7, "two has not run yet");
    assert_eq!(process.report(&mut two, 4, awake + 300).in_flight, 7);
    process.report(&mut two, 4, awake + 300 + 10 * GONE_MS);
    let mut new = Membership::default();
    let first = awake + 300 + 20 * GONE_MS;
    assert_eq!(process.report(&mut new, 0, first).in_flight, 7, "a new VM cannot know better");
    for now in (first..=first + GONE_MS).step_by(250) {
        process.report(&mut new, 0, now);
    }
    assert_eq!(process.report(&mut new, 0, first + GONE_MS + 1).in_flight, 0, "they crashed");
}

#[test]
fn a_vm_shares_no_id_with_an_entry_at_either_end_of_the_range() {
    for id in [0, 1, 1_000_000_000, u64::MAX - 1, u64::MAX] {
        let mut process = Process(Some(format!("[[{id},1000,0,false]]")));
        let mut one = Membership::default();
        for now in (1_000..=1_000 + GONE_MS).step_by(250) {
            assert_eq!(process.report(&mut one, 1, now).in_flight, 1, "the entry {id} at {now}");
        }
        assert_ne!(one.id(), id);
        process.report(&mut one, 1, 1_250 + GONE_MS);
        let list = process.0.expect("a list");
        assert!(!list.contains(&format!("[{id},")), "the foreign entry expires: {list}");
    }
}

#[test]
fn two_vms_with_the_same_id_separate() {
    let mut process = Process::default();
    let (mut one, mut two) = (Membership::default(), Membership::default());
    process.report(&mut one, 3, 1_000);
    // A host without conditional first writes: the second VM overwrites the first one.
    process.0 = None;
    process.report(&mut two, 5, 1_000);
    assert_eq!(one.id(), two.id());
    assert_eq!(process.report(&mut one, 3, 1_250).in_flight, 8);
    assert_eq!(process.report(&mut two, 5, 1_250).in_flight, 8);
    assert_ne!(one.id(), two.id());
}

#[test]
fn the_oldest_vm_leads_and_the_next_takes_over_within_two_intervals() {
    let mut process = Process::default();
    let mut workers: Vec<Membership> = (0..3).map(|_| Membership::default()).collect();
    let mut leaders = |alive: std::ops::Range<usize>, now| -> Vec<usize> {
        let led = alive.filter(|index| process.leads(&mut workers[*index], now));
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
        assert!(process.leads(&mut one, now));
        assert!(!process.leads(&mut two, now));
    }
    // The younger one wakes up first.
    assert!(!process.leads(&mut two, 9_000));
    assert!(!process.leads(&mut two, 9_000), "nor when its report is made again");
    assert!(process.leads(&mut one, 9_001));
    assert!(!process.leads(&mut two, 9_250));
}

#[test]
fn only_a_vm_with_a_store_leads() {
    let mut process = Process::default();
    let (mut one, mut two) = (Membership::default(), Membership::default());
    let without = Report { in_flight: 0, can_poll: false };
    process.report_as(&mut one, without, 1_000);
    assert!(!one.is_leader());
    assert!(process.leads(&mut two, 1_000));
    assert!(process.leads(&mut one, 1_250), "the oldest has one now");
    assert!(!process.leads(&mut two, 1_250));
    process.report_as(&mut one, without, 1_500);
    assert!(!one.is_leader(), "and now it has not");
    assert!(process.leads(&mut two, 1_500));
}

#[test]
fn leases_expire_after_a_clock_jumps_back() {
    let mut process = Process::default();
    let (mut one, mut two) = (Membership::default(), Membership::default());
    process.report(&mut one, 3, 9_000_000);
    process.report(&mut two, 4, 9_000_000);
    assert_eq!(process.report(&mut two, 4, 1_000_000).in_flight, 7, "nobody has crashed for that");
    assert!(!two.is_leader());
    assert!(process.leads(&mut two, 1_000_250), "the other one has not reported since");
    assert_eq!(process.report(&mut one, 3, 1_000_250).in_flight, 3);
    assert!(one.is_leader(), "it continues as before");
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

/// One VM of a process whose writes may fail: the value that it has read and not yet written.
#[derive(Default)]
struct Writer {
    vm: Membership,
    in_flight: u64,
    pending: Option<(String, u64)>,
}

/// A step of a VM in an interleaving.
#[derive(Debug, Clone)]
enum Step {
    /// Reads the list, and may then have a value to write.
    Read(usize),
    /// Writes the value if nobody has written since the read.
    Write(usize),
    /// Requests begin or end.
    InFlight(usize, u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..4_usize).prop_map(Step::Read),
        4 => (0..4_usize).prop_map(Step::Write),
        1 => (0..4_usize, 0..9_u64).prop_map(|(vm, count)| Step::InFlight(vm, count)),
    ];
    prop::collection::vec(step, 1..80)
}

/// Lists that somebody else wrote, with ids at both ends of the range.
fn foreign_list() -> impl Strategy<Value = Option<String>> {
    let id =
        prop_oneof![Just(0), Just(1), Just(1_000_000_000_u64), Just(u64::MAX - 1), Just(u64::MAX)];
    let entry = (id, 0..3_000_u64, any::<bool>())
        .prop_map(|(id, renewed_ms, can_poll)| format!("[{id},{renewed_ms},0,{can_poll}]"));
    let list = prop::collection::vec(entry, 0..4).prop_map(|list| format!("[{}]", list.join(",")));
    prop::option::of(list)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    /// Four VMs start in the same instant and their reads and writes interleave in any way. Once
    /// each of them has reported, their ids differ and every one of them counts all requests.
    #[test]
    fn vms_that_start_together_count_all_requests(steps in steps(), foreign in foreign_list(), in_flight in prop::array::uniform4(0..9_u64)) {
        let (mut list, mut version) = (foreign, 0_u64);
        let mut writers: [Writer; 4] = Default::default();
        for (writer, in_flight) in writers.iter_mut().zip(in_flight) {
            writer.in_flight = in_flight;
        }
        let at = ReportTime { now_ns: 1_000_000_000, tick_ms: TICK_MS };
        for step in steps {
            match step {
                Step::Read(index) => {
                    let writer = &mut writers[index];
                    let report = Report { in_flight: writer.in_flight, can_poll: true };
                    let write = writer.vm.report(list.as_deref().map(str::as_bytes), report, at).write;
                    writer.pending = write.map(|write| (write, version));
                }
                Step::Write(index) => {
                    let writer = &mut writers[index];
                    if let Some((write, read)) = writer.pending.take() && read == version {
                        list = Some(write);
                        version += 1;
                        writer.vm.confirm_write();
                    }
                }
                Step::InFlight(index, count) => writers[index].in_flight = count,
            }
        }
        let mut process = Process(list);
        let later = 1_000 + TICK_MS;
        for writer in &mut writers {
            process.report(&mut writer.vm, writer.in_flight, later);
        }
        let sum: u64 = writers.iter().map(|writer| writer.in_flight).sum();
        let mut ids = BTreeSet::new();
        for writer in &mut writers {
            let found = process.report(&mut writer.vm, writer.in_flight, later).in_flight;
            prop_assert_eq!(found, sum);
            ids.insert(writer.vm.id());
        }
        prop_assert_eq!(ids.len(), writers.len());
    }

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
        one.confirm_write();
        let again = one.report(Some(written.as_bytes()), report, at);
        prop_assert_eq!(again.in_flight, reported.in_flight);
    }
}
