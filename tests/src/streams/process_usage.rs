//! Reads the resource usage of a process from `/proc`.

use std::fs;
use std::time::Duration;

use rustix::param::{clock_ticks_per_second, page_size};

/// Processor time and memory of a process.
#[derive(Debug, Clone, Copy)]
pub(super) struct Usage {
    /// User and kernel time of all threads.
    pub(super) cpu: Duration,
    /// Resident memory in bytes.
    pub(super) resident: u64,
}

impl Usage {
    /// Reads the usage of the process with this id.
    ///
    /// # Panics
    /// If the process does not exist.
    pub(super) fn of(process: u32) -> Self {
        let path = format!("/proc/{process}/stat");
        let stat = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        Self::parse(&stat).unwrap_or_else(|| panic!("{path}: expected proc(5), found {stat:?}"))
    }

    fn parse(stat: &str) -> Option<Self> {
        // The name in parentheses may contain blanks. Field 3 of proc(5) follows it.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        let ticks = field(14)? + field(15)?;
        let cpu = Duration::from_secs_f64(ticks as f64 / clock_ticks_per_second() as f64);
        Some(Self { cpu, resident: field(24)? * page_size() as u64 })
    }
}
