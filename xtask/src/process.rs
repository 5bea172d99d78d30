//! Starts other programs from the root of the repository and turns their exit status into a result.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().expect("xtask is a folder of the workspace").to_owned()
}

/// The folder for modules and downloads: `target` in the repository, even if cargo builds
/// elsewhere.
pub(crate) fn target() -> PathBuf {
    root().join("target")
}

/// Prints the next step on its own line.
pub(crate) fn announce(step: &str) {
    println!("==> {step}");
}

/// A command that runs in the root of the repository.
pub(crate) fn command<I: AsRef<str>>(
    program: &str,
    arguments: impl IntoIterator<Item = I>,
) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root());
    for argument in arguments {
        command.arg(argument.as_ref());
    }
    command
}

/// The path of the cargo that started this program.
pub(crate) fn cargo_path() -> String {
    std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned())
}

/// A subcommand of cargo that fails if `Cargo.lock` would change.
pub(crate) fn cargo<I: AsRef<str>>(
    subcommand: &str,
    arguments: impl IntoIterator<Item = I>,
) -> Command {
    let mut cargo = command(&cargo_path(), [subcommand, "--locked"]);
    for argument in arguments {
        cargo.arg(argument.as_ref());
    }
    cargo
}

/// Runs a command. Fails if the command cannot start or does not succeed.
pub(crate) fn run(mut command: Command) -> Result<()> {
    let line = command_line(&command);
    let status = command.status().with_context(|| format!("cannot start `{line}`"))?;
    if !status.success() {
        bail!("`{line}` failed ({status})");
    }
    Ok(())
}

/// Runs a command without showing its output. Returns the trimmed output if the command succeeds.
pub(crate) fn output_of(mut command: Command) -> Option<String> {
    let output = command.stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

/// The command as a user would type it, without the folder of the program.
pub(crate) fn command_line(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let words = std::iter::once(program).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
