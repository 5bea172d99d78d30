//! Runs the program in a process of its own, because only that shows its peak memory.

use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What a replay used.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Used {
    pub(crate) wall: Duration,
    /// The processor time of the main thread. Other load on the machine does not change it. On one
    /// core, this thread does everything.
    pub(crate) main_thread: Duration,
    /// The peak memory in bytes.
    pub(crate) memory: u64,
}

/// How many cores a replay can use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cores {
    One,
    All,
}

/// Writes an input to the build folder, where it can be inspected and replayed by hand.
pub(crate) fn write(
    name: &str,
    write: impl FnOnce(&mut BufWriter<fs::File>) -> io::Result<()>,
) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("replay");
    fs::create_dir_all(&folder).expect("the build folder is writable");
    let path = folder.join(name);
    let mut out = BufWriter::new(fs::File::create(&path).expect("the folder is writable"));
    write(&mut out).and_then(|()| out.flush()).expect("the folder has space");
    path
}

/// Replays a trace, which must pass.
pub(crate) fn replay(configuration: &Path, trace: &Path, cores: Cores) -> Used {
    run(command(configuration, trace, cores), |_| Ok(()))
}

/// Replays the trace that `write` writes to a pipe, which must pass.
#[allow(dead_code, reason = "one of the two benchmarks uses it")]
pub(crate) fn replay_pipe(
    configuration: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()> + Send,
) -> Used {
    run(command(configuration, Path::new("-"), Cores::All), write)
}

fn command(configuration: &Path, trace: &Path, cores: Cores) -> Command {
    let program = env!("CARGO_BIN_EXE_sluice");
    let mut command = match cores {
        Cores::All => Command::new(program),
        Cores::One => {
            let mut command = Command::new("taskset");
            command.args(["--cpu-list", "0", program]);
            command
        }
    };
    command.args(["replay", "--workers", "1", "--config"]).arg(configuration).arg(trace);
    if let Some(filter) = std::env::var_os("SLUICE_FILTER") {
        command.arg("--wasm").arg(filter);
    }
    command.current_dir(env!("CARGO_MANIFEST_DIR")).stdin(Stdio::piped()).stdout(Stdio::null());
    command
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
fn run(mut program: Command, write: impl FnOnce(&mut dyn Write) -> io::Result<()> + Send) -> Used {
    let begin = Instant::now();
    let mut child = program.spawn().expect("cargo has built the program, and taskset exists");
    let pipe = child.stdin.take().expect("the input is a pipe");
    let mut used = Used::default();
    let status = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut pipe = BufWriter::with_capacity(1 << 16, pipe);
            // The program ends early only if the replay fails, which the status shows.
            let _ = write(&mut pipe).and_then(|()| pipe.flush());
        });
        loop {
            // Linux removes both figures when the process ends, so the last sample comes shortly
            // before.
            used.main_thread = processor_time(&child).unwrap_or_default().max(used.main_thread);
            used.memory = peak_memory(&child).unwrap_or(0).max(used.memory);
            if let Some(status) = child.try_wait().expect("the process is our child") {
                used.wall = begin.elapsed();
                break status;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    assert!(status.success(), "a replay failed; run {program:?} to see why");
    used
}

/// `None` outside Linux.
fn processor_time(child: &Child) -> Option<Duration> {
    let times = fs::read_to_string(format!("/proc/{}/schedstat", child.id())).ok()?;
    times.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}

/// `None` outside Linux, which reports it in kilobytes.
fn peak_memory(child: &Child) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()? * 1024)
}
