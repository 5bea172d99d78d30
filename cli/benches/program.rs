//! The program as users run it, in a process of its own, because only that shows how much memory it takes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Writes an input to a place where it can be looked at and replayed by hand.
pub(crate) fn write(name: &str, content: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("replay");
    fs::create_dir_all(&folder).expect("the build folder can be written to");
    let path = folder.join(name);
    fs::write(&path, content).expect("the folder can be written to");
    path
}

/// Replays a trace, whose expectations must hold: the time that it took, and the peak of its memory in bytes.
pub(crate) fn replay(configuration: &Path, trace: &Path) -> (Duration, u64) {
    let mut program = Command::new(env!("CARGO_BIN_EXE_sluice"));
    program.args(["replay", "--workers", "1", "--config"]).arg(configuration).arg(trace);
    if let Some(filter) = std::env::var_os("SLUICE_FILTER") {
        program.arg("--wasm").arg(filter);
    }
    program.current_dir(env!("CARGO_MANIFEST_DIR")).stdout(Stdio::null());
    let (took, peak, held) = watch(&mut program);
    assert!(held, "a replay failed; run {program:?} to see why");
    (took, peak)
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
fn watch(program: &mut Command) -> (Duration, u64, bool) {
    let begin = Instant::now();
    let mut child = program.spawn().expect("cargo has built the program");
    let (mut took, mut peak) = (Duration::ZERO, 0);
    let status = loop {
        // Both figures go with the process; the last look comes shortly before its end.
        took = processor_time(&child).map_or_else(|| begin.elapsed(), |time| time.max(took));
        peak = peak_memory(&child).unwrap_or(0).max(peak);
        if let Some(status) = child.try_wait().expect("the process is our child") {
            break status;
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    (took, peak, status.success())
}

/// What the process's main thread has had of a processor. Everything but compiling happens there, and what else runs on the machine
/// does not count. Linux tells it, elsewhere the clock on the wall has to do.
fn processor_time(child: &Child) -> Option<Duration> {
    let times = fs::read_to_string(format!("/proc/{}/schedstat", child.id())).ok()?;
    times.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}

/// Linux keeps the peak, in kilobytes; elsewhere it stays unknown.
fn peak_memory(child: &Child) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()? * 1024)
}
