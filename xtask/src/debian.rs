//! Bringing the other real parts that tests need, and what makes the module small, from Debian's
//! packages. A test that cannot find its part fails.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::shell::{announce, ask, command, run, target};

/// A program that this or the tests start.
pub(crate) struct Package {
    name: &'static str,
    /// Where an installed one lies, below `/`.
    program: &'static str,
    /// What names another one in the environment.
    variable: &'static str,
}

pub(crate) const BINARYEN: Package =
    Package { name: "binaryen", program: "usr/bin/wasm-opt", variable: "SLUICE_WASM_OPT" };

pub(crate) const ETCD: Package =
    Package { name: "etcd-server", program: "usr/bin/etcd", variable: "SLUICE_ETCD" };

pub(crate) const HAPROXY: Package =
    Package { name: "haproxy", program: "usr/sbin/haproxy", variable: "SLUICE_HAPROXY" };

pub(crate) const NGINX: Package =
    Package { name: "nginx", program: "usr/sbin/nginx", variable: "SLUICE_NGINX" };

pub(crate) const PROMETHEUS: Package =
    Package { name: "prometheus", program: "usr/bin/prometheus", variable: "SLUICE_PROMETHEUS" };

impl Package {
    /// Makes sure that there is one: an installed one, else Debian's package and what it depends
    /// on, unpacked to a folder of its name in `target` without being installed.
    pub(crate) fn bring(&self) -> Result<()> {
        let Self { name, program, variable } = *self;
        if self.path().is_some() {
            return Ok(());
        }
        self.fetch(&target().join(name))
            .with_context(|| format!("no {name}: install it, or name one in {variable}"))?;
        ensure!(self.path().is_some(), "Debian's package {name} has no {program}");
        Ok(())
    }

    /// The program: the one that the environment names, else an installed one, else ours.
    pub(crate) fn path(&self) -> Option<PathBuf> {
        let named = std::env::var_os(self.variable).map(PathBuf::from);
        let folders = [PathBuf::from("/"), target().join(self.name)];
        let ours = folders.map(|root| root.join(self.program));
        named.or_else(|| ours.into_iter().find(|path| path.is_file()))
    }

    fn fetch(&self, folder: &Path) -> Result<()> {
        announce(&format!("fetching {} (apt-get download)", self.name));
        fs::create_dir_all(folder)?;
        for package in packages(folder)? {
            fs::remove_file(package)?;
        }
        let download = || {
            let missing = self.missing().context("apt-get knows no such package")?;
            let words = ["download", "-qq"].map(str::to_owned);
            let mut download = command("apt-get", words.into_iter().chain(missing));
            download.current_dir(folder);
            run(download)
        };
        download()
            .or_else(|_| run(command("apt-get", ["update", "-qq"])).and_then(|()| download()))?;
        for package in packages(folder)? {
            let words = [Path::new("-x"), &package, folder];
            run(command("dpkg", words.map(|word| word.display().to_string())))?;
        }
        Ok(())
    }

    /// The packages that an installation would bring: this one, and those it needs that this
    /// machine does not have.
    fn missing(&self) -> Option<Vec<String>> {
        let options = ["--simulate", "install", "--no-install-recommends"];
        let plan = ask(command("apt-get", options.into_iter().chain([self.name])))?;
        let steps = plan.lines().filter_map(|line| line.strip_prefix("Inst "));
        Some(steps.filter_map(|step| Some(step.split_once(' ')?.0.to_owned())).collect())
    }
}

/// The packages that were downloaded to a folder.
fn packages(folder: &Path) -> Result<Vec<PathBuf>> {
    let paths = fs::read_dir(folder)?.map(|entry| Ok(entry?.path()));
    let paths = paths.collect::<Result<Vec<_>>>()?;
    let is_package = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "deb");
    Ok(paths.into_iter().filter(is_package).collect())
}
