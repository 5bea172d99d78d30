//! Installations outside `target/`. Each is announced first, and `SLUICE_NO_INSTALL=1` forbids all
//! of them.

use anyhow::{Result, ensure};

use crate::process::{announce, command, command_line, run};

const SWITCH: &str = "SLUICE_NO_INSTALL";

/// Installs `what` with commands that change the machine outside the repository.
pub(crate) fn install(what: &str, steps: &[&[&str]]) -> Result<()> {
    let steps = steps.iter().map(|words| command(words[0], &words[1..])).collect::<Vec<_>>();
    let lines = steps.iter().map(command_line).collect::<Vec<_>>().join(" && ");
    let is_allowed = std::env::var_os(SWITCH).is_none_or(|value| value.is_empty() || value == "0");
    ensure!(is_allowed, "{what} is missing, and {SWITCH} forbids installing it; run `{lines}`");
    announce(&format!("installing {what} on this machine: {lines} ({SWITCH}=1 forbids this)"));
    steps.into_iter().try_for_each(run)
}
