//! Runs the program in a process of its own, because only that shows its peak memory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Writes an input to the build folder, where it can be inspected and replayed by hand.
pub(crate) fn write(name: &str, content: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("replay");
    fs::create_dir_all(&folder).expect("the build folder is writable");
    let path = folder.join(name);
    fs::write(&path, content).expect("the folder is writable");
    path
}

/// Replays a trace, which must pass. Returns the processor time and the peak memory in bytes.
pub(crate) fn replay(configuration: &Path, trace: &Path) -> (Duration, u64) {
    let mut program = Command::new(env!("CARGO_BIN_EXE_sluice"));
    program.args(["replay", "--workers", "1", "--config"]).arg(configuration).arg(trace);
    if let Some(filter) = std::env::var_os("SLUICE_FILTER") {
        program.arg("--wasm").arg(filter);
    }
    program.current_dir(env!("CARGO_MANIFEST_DIR")).stdout(Stdio::null());
    let (time, peak, passed) = watch(&mut program);
    assert!(passed, "a replay failed; run {program:?} to see why");
    (time, peak)
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
fn watch(program: &mut Command) -> (Duration, u64, bool) {
    let begin = Instant::now();
    let mut child = program.spawn().expect("cargo has built the program");
    let (mut time, mut peak) = (Duration::ZERO, 0);
    let status = loop {
        // Linux removes both figures when the process ends, so the last sample comes shortly
        // before.
        time = processor_time(&child).map_or_else(|| begin.elapsed(), |now| now.max(time));
        peak = peak_memory(&child).unwrap_or(0).max(peak);
        if let Some(status) = child.try_wait().expect("the process is our child") {
            break status;
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    (time, peak, status.success())
}

/// The processor time of the main thread, which does everything but compile. Other load on the
/// machine does not change it. `None` outside Linux, where the wall clock is used instead.
fn processor_time(child: &Child) -> Option<Duration> {
    let times = fs::read_to_string(format!("/proc/{}/schedstat", child.id())).ok()?;
    times.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}

/// The peak memory in bytes, which Linux reports in kilobytes; `None` elsewhere.
fn peak_memory(child: &Child) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()? * 1024)
}
