//! Bringing a real nginx: the test of the hop in front of Envoy needs one, and a test that cannot
//! find one fails.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::shell::{announce, command, run, target};

const INSTALLED: &str = "/usr/sbin/nginx";

/// Makes sure that there is an nginx: an installed one, else Debian's package, unpacked to
/// `target/nginx` without being installed.
pub(crate) fn bring() -> Result<()> {
    let folder = target().join("nginx");
    let ours = folder.join("usr/sbin/nginx");
    let named = std::env::var_os("SLUICE_NGINX").is_some();
    if named || Path::new(INSTALLED).is_file() || ours.is_file() {
        return Ok(());
    }
    fetch(&folder).context("no nginx: install it, or name one in SLUICE_NGINX")?;
    ensure!(ours.is_file(), "Debian's package nginx has no {INSTALLED}");
    Ok(())
}

fn fetch(folder: &Path) -> Result<()> {
    announce("fetching nginx (apt-get download)");
    fs::create_dir_all(folder)?;
    let download = || {
        let mut download = command("apt-get", ["download", "-qq", "nginx"]);
        download.current_dir(folder);
        run(download)
    };
    download().or_else(|_| run(command("apt-get", ["update", "-qq"])).and_then(|()| download()))?;
    let packages = fs::read_dir(folder)?.map_while(Result::ok).map(|entry| entry.path());
    let package = packages
        .filter(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .max()
        .context("apt-get left no package")?;
    let [package, folder] = [package.as_path(), folder].map(|path| path.display().to_string());
    run(command("dpkg", ["-x", &package, &folder]))
}
