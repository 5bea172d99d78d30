//! Finding the real parts other than Envoy: installed ones, or Debian's packages as `cargo xtask`
//! unpacks them to `target`.

use std::env::consts::ARCH;
use std::path::PathBuf;
use std::process::Command;

use crate::root;

/// A command that starts the program `name` of a Debian package: the one that `SLUICE_NAME` names, else
/// an installed one, else ours.
///
/// # Panics
/// If this machine has none.
pub fn command(package: &str, name: &str) -> Command {
    let ours = root().join("target").join(package);
    let variable = format!("SLUICE_{}", name.to_uppercase());
    let named = std::env::var_os(&variable).map(PathBuf::from);
    let folders = ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/opt/homebrew/bin"];
    let unpacked = ["usr/sbin", "usr/bin"].map(|folder| ours.join(folder));
    let places = folders.map(PathBuf::from).into_iter().chain(unpacked);
    let mut all = named.into_iter().chain(places.map(|folder| folder.join(name)));
    let program = all.find(|program| program.is_file()).unwrap_or_else(|| {
        panic!("no {name}: run `cargo xtask test`, which fetches it, or name one in {variable}")
    });
    let mut command = Command::new(program);
    // What an unpacked package needs lies beside it; an installed one finds the system's.
    command.env("LD_LIBRARY_PATH", ours.join(format!("usr/lib/{ARCH}-linux-gnu")));
    command
}
