//! The processor time of Envoy's worker thread.

use std::fs;
use std::time::Duration;

use rustix::param::clock_ticks_per_second;

/// The name of the thread of the first worker. The kernel cuts names after 15 bytes.
const WORKER: &str = "wrk:worker_0";

/// The processor time of the only worker of an Envoy.
///
/// # Panics
/// If the process or its worker does not exist.
pub(super) fn worker_time(process: u32) -> Duration {
    let threads = fs::read_dir(format!("/proc/{process}/task")).expect("Envoy runs");
    let worker = threads.filter_map(Result::ok).map(|thread| thread.path()).find(|thread| {
        fs::read_to_string(thread.join("comm")).is_ok_and(|name| name.trim() == WORKER)
    });
    let worker = worker.expect("Envoy has one worker");
    let read = |name: &str| fs::read_to_string(worker.join(name)).unwrap_or_default();
    let time = nanoseconds(&read("schedstat")).or_else(|| ticks(&read("stat")));
    time.expect("the kernel counts the processor time of a thread")
}

/// Reads `schedstat`, which not every kernel has: the first number is the time in nanoseconds.
fn nanoseconds(schedstat: &str) -> Option<Duration> {
    let time: u64 = schedstat.split_whitespace().next()?.parse().ok()?;
    Some(Duration::from_nanos(time)).filter(|time| !time.is_zero())
}

/// Reads the fields 14 and 15 of `stat` (proc(5)), the time in user and kernel mode in ticks.
fn ticks(stat: &str) -> Option<Duration> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    let ticks = field(14)? + field(15)?;
    Some(Duration::from_secs_f64(ticks as f64 / clock_ticks_per_second() as f64))
}
