//! Finds the real programs other than Envoy: installed ones, or Debian's packages that `cargo
//! xtask` has unpacked to `target`.

use std::env::consts::ARCH;
use std::path::PathBuf;
use std::process::Command;

use crate::root;

/// A command that starts the program `name` of a Debian package: the one that `SLUICE_NAME` names,
/// else an installed one, else the unpacked one.
///
/// # Panics
/// If none is found.
pub(crate) fn command(package: &str, name: &str) -> Command {
    let unpacked = root().join("target").join(package);
    let variable = format!("SLUICE_{}", name.to_uppercase());
    let named = std::env::var_os(&variable).map(PathBuf::from);
    let installed = ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/opt/homebrew/bin"];
    // A program in `usr/bin` may be a script that needs an installed package.
    let own = format!("usr/lib/{package}");
    let folders = [&own, "usr/sbin", "usr/bin"].map(|folder| unpacked.join(folder));
    let folders = installed.map(PathBuf::from).into_iter().chain(folders);
    let mut all = named.into_iter().chain(folders.map(|folder| folder.join(name)));
    let program = all.find(|program| program.is_file()).unwrap_or_else(|| {
        panic!("no {name}: run `cargo xtask test`, which fetches it, or name one in {variable}")
    });
    let mut command = Command::new(program);
    // The libraries of an unpacked package are in the same folder; an installed program finds those
    // of the system.
    let libraries = unpacked.join(format!("usr/lib/{ARCH}-linux-gnu"));
    let folders = [libraries.clone(), libraries.join("pulseaudio")];
    let folders = std::env::join_paths(folders).expect("a path without colons");
    command.env("LD_LIBRARY_PATH", folders);
    command
}
