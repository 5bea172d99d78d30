//! The program `sluice` as its users run it: built by cargo, started with arguments, judged by its exit status and by what
//! it prints.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// How a run of `sluice` ended.
#[derive(Debug, PartialEq, Eq)]
pub struct Run {
    /// The exit status; -1 where a signal ended it.
    pub status: i32,
    /// What it printed.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
}

/// `sluice`, in the repository's root, with nothing of the environment that changes what it prints.
pub fn sluice<A: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new(program());
    command.current_dir(root()).env_remove("NO_COLOR").args(arguments).stdin(Stdio::null());
    command
}

/// Runs `sluice` to its end.
pub fn run<A: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = A>) -> Run {
    finish(sluice(arguments))
}

/// Runs a [`sluice`] to its end.
pub fn finish(mut command: Command) -> Run {
    let output = command.output().expect("the program was found");
    let text = |bytes| String::from_utf8(bytes).expect("sluice prints UTF-8");
    Run {
        status: output.status.code().unwrap_or(-1),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

/// The arguments that replay with the built filter, before any others.
pub fn replay<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Run {
    let module = module().to_str().expect("cargo's folders are UTF-8");
    run(["replay", "--wasm", module].into_iter().chain(arguments))
}

/// The repository's root.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("the package lies two folders below the root")
}

/// The filter's module.
pub fn module() -> &'static Path {
    static MODULE: OnceLock<PathBuf> = OnceLock::new();
    MODULE.get_or_init(|| {
        let named = std::env::var_os("SLUICE_FILTER").map(PathBuf::from);
        let module = named.unwrap_or_else(|| root().join("target/sluice_filter.wasm"));
        assert!(module.is_file(), "{} is missing; run `cargo xtask build`", module.display());
        module
    })
}

/// The program, which cargo leaves two folders above the tests that run.
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
