//! The program `sluice` as a child process: started with arguments, judged by its output and its
//! exit status.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// The result of a run.
#[derive(Debug, PartialEq, Eq)]
pub struct Run {
    /// The exit status; -1 if a signal ended the program.
    pub status: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Run {
    /// The words of standard output with one space between them, because reports wrap long
    /// sentences.
    pub fn words(&self) -> String {
        self.stdout.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

/// `sluice` with these arguments. It runs in the root of the repository, without the environment
/// variables that change its output, and keeps its cache in cargo's folder.
pub fn sluice<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new(program());
    command.current_dir(root()).env_remove("NO_COLOR").env("XDG_CACHE_HOME", cache());
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Runs `sluice` with these arguments.
pub fn run<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Run {
    finish(sluice(arguments))
}

/// Runs a command that [`sluice`] made.
pub fn finish(mut command: Command) -> Run {
    let output = command.output().expect("the program exists");
    let text = |bytes| String::from_utf8(bytes).expect("sluice prints UTF-8");
    Run {
        status: output.status.code().unwrap_or(-1),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

/// Runs `sluice replay` with the built filter and these arguments.
pub fn replay<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Run {
    let module = module().to_str().expect("cargo's folders are UTF-8");
    run(["replay", "--wasm", module].into_iter().chain(arguments))
}

/// The root of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("the package lies two folders below the root")
}

/// The folder for the machine code that the program keeps.
pub fn cache() -> PathBuf {
    program().with_file_name("sluice-cache")
}

/// The module of the filter: the file in the environment variable `SLUICE_FILTER`, or the built
/// one.
pub fn module() -> &'static Path {
    static MODULE: OnceLock<PathBuf> = OnceLock::new();
    MODULE.get_or_init(|| {
        let named = std::env::var_os("SLUICE_FILTER").map(PathBuf::from);
        let module = named.unwrap_or_else(|| root().join("target/sluice_filter.wasm"));
        assert!(module.is_file(), "{} is missing; run `cargo xtask build`", module.display());
        module
    })
}

/// The program, which cargo builds into the folder above that of the tests.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let test = std::env::current_exe().expect("a test has a path");
        let profile = test.ancestors().nth(2).expect("cargo runs tests in target/PROFILE/deps");
        let program = profile.join("sluice").with_extension(std::env::consts::EXE_EXTENSION);
        assert!(
            program.is_file(),
            "{} is missing; run `cargo build -p sluice-cli`, or all tests with `cargo test --workspace`",
            program.display()
        );
        program
    })
}
