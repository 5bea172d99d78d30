//! What a process has used, as Linux tells.

use std::fs;
use std::time::Duration;

use rustix::param::{clock_ticks_per_second, page_size};

/// Processor time and memory of a process.
#[derive(Debug, Clone, Copy)]
pub(super) struct Usage {
    /// In user and in kernel mode, over all threads.
    pub(super) cpu: Duration,
    /// Bytes in memory.
    pub(super) resident: u64,
}

impl Usage {
    /// Of the process with this number.
    ///
    /// # Panics
    /// If there is no such process.
    pub(super) fn of(process: u32) -> Self {
        let path = format!("/proc/{process}/stat");
        let stat = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        Self::parse(&stat).unwrap_or_else(|| panic!("{path}: expected proc(5), found {stat:?}"))
    }

    fn parse(stat: &str) -> Option<Self> {
        // The name before the parenthesis may have blanks. It is followed by field 3 of proc(5).
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        let ticks = field(14)? + field(15)?;
        let cpu = Duration::from_secs_f64(ticks as f64 / clock_ticks_per_second() as f64);
        Some(Self { cpu, resident: field(24)? * page_size() as u64 })
    }
}
