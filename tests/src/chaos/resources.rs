//! The memory and the open files of a process, and whether they grow over a run.

use std::fmt;
use std::fs;

/// The address space that V8 reserves for the linear memory of a module, with its guard regions, is
/// larger than this.
const RESERVATION: u64 = 4 << 30;

/// The growth that is allowed beyond a quarter: memory that allocators and V8 keep.
const SLACK_MEMORY: u64 = 32 << 20;
const SLACK_FILES: u64 = 64;
/// Some pages of a module. Memory of a module never shrinks, so its largest load counts.
const SLACK_MODULE: u64 = 4 << 20;

/// The usage of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Resident memory in bytes.
    pub resident: u64,
    /// Open file descriptors.
    pub files: u64,
    /// The linear memory of the largest VM, in bytes.
    pub module: u64,
    /// The number of VMs.
    pub vms: u64,
}

/// The usage of a proxy in the first and in the last third of a run, as medians.
#[derive(Debug, Clone, Copy)]
pub struct Growth {
    first: Usage,
    last: Usage,
}

impl Usage {
    /// Reads the usage of a process.
    ///
    /// Envoy does not report the linear memory of modules. V8 reserves a large address space for
    /// each and makes only the used part of it writable, which `/proc` shows.
    ///
    /// `None` if the process has ended.
    pub(super) fn of(process: u32) -> Option<Self> {
        let read = |file: &str| fs::read_to_string(format!("/proc/{process}/{file}")).ok();
        let status = read("status")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().ok()?;
        let files = fs::read_dir(format!("/proc/{process}/fd")).ok()?.count();
        let memories = linear_memories(&read("maps")?);
        Some(Self {
            resident: kib * 1024,
            files: files as u64,
            module: memories.iter().copied().max().unwrap_or(0),
            vms: memories.len() as u64,
        })
    }
}

/// The writable parts of large reservations, in bytes.
fn linear_memories(maps: &str) -> Vec<u64> {
    let mapping = |line: &str| {
        let mut words = line.split(' ');
        let (from, to) = words.next()?.split_once('-')?;
        let [from, to] = [from, to].map(|address| u64::from_str_radix(address, 16).ok());
        Some((from?, to?, words.next()?.to_owned()))
    };
    let mappings: Vec<_> = maps.lines().filter_map(mapping).collect();
    let pairs = mappings.windows(2).filter(|pair| {
        let [(_, end, used), (start, limit, reserved)] = pair else { return false };
        end == start
            && used.starts_with("rw")
            && reserved.starts_with("---")
            && limit - start > RESERVATION
    });
    pairs.map(|pair| pair[0].1 - pair[0].0).collect()
}

impl Growth {
    /// The growth of each proxy. `usages` has one list for each epoch.
    pub(super) fn of(usages: &[Vec<Usage>]) -> Vec<Self> {
        let Some(first) = usages.first() else { return Vec::new() };
        let third = usages.len().div_ceil(3);
        let growth = |proxy: usize| {
            let all: Vec<Usage> = usages.iter().map(|usages| usages[proxy]).collect();
            Self { first: median(&all[..third]), last: median(&all[all.len() - third..]) }
        };
        (0..first.len()).map(growth).collect()
    }

    /// The growth in words, if it is too large.
    pub(super) fn violation(&self) -> Option<String> {
        let Self { first, last } = self;
        let grows = |first: u64, last: u64, slack: u64| last > first + first / 4 + slack;
        let is_violated = grows(first.resident, last.resident, SLACK_MEMORY)
            || grows(first.files, last.files, SLACK_FILES)
            || grows(first.module, last.module, SLACK_MODULE)
            || grows(first.vms, last.vms, first.vms);
        is_violated.then(|| format!("a process grows: {self}"))
    }
}

fn median(usages: &[Usage]) -> Usage {
    let of = |field: fn(&Usage) -> u64| {
        let mut values: Vec<u64> = usages.iter().map(field).collect();
        values.sort_unstable();
        values[values.len() / 2]
    };
    Usage {
        resident: of(|usage| usage.resident),
        files: of(|usage| usage.files),
        module: of(|usage| usage.module),
        vms: of(|usage| usage.vms),
    }
}

impl fmt::Display for Growth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, last } = self;
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        write!(
            f,
            "{:.0} MiB resident at first, {:.0} MiB at last; {} and {} open files; {:.1} and {:.1} \
             MiB of linear memory in the largest of {} and {} VMs",
            mib(first.resident),
            mib(last.resident),
            first.files,
            last.files,
            mib(first.module),
            mib(last.module),
            first.vms,
            last.vms
        )
    }
}
