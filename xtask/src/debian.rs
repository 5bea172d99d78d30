//! Other programs that the tests start, from Debian's packages. They are unpacked to `target/`,
//! not installed. The tests fail if a program is missing; they do not skip.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::install::install;
use crate::process::{announce, command, output_of, run, target};

/// A Debian package with a program that the tests start.
pub(crate) struct Package {
    /// The folder in `target/` to which the packages are unpacked.
    pub(crate) folder: &'static str,
    /// The package, and others that it does not depend on.
    names: &'static [&'static str],
    /// The path of the program or module, relative to `/` or to the folder of the unpacked package.
    program: &'static str,
    /// The environment variable that can name another program.
    variable: &'static str,
}

/// A browser. Debian's `/usr/bin/chromium` is a script that starts this program.
pub(crate) const CHROMIUM: Package = Package {
    folder: "chromium",
    names: &["chromium"],
    program: "usr/lib/chromium/chromium",
    variable: "SLUICE_CHROMIUM",
};

/// A compiler from C to WebAssembly, with its linker and C library.
pub(crate) const CLANG: Package = Package {
    folder: "clang",
    names: &["clang", "lld", "wasi-libc", "libclang-rt-dev-wasm32"],
    program: "usr/bin/clang",
    variable: "SLUICE_CLANG",
};

/// A newer Rust than that of the workspace.
pub(crate) const RUSTC: Package = Package {
    folder: "rustc-web",
    names: &["rustc-web", "cargo-web"],
    program: "usr/bin/rustc",
    variable: "SLUICE_RUSTC_1_96",
};

pub(crate) const ETCD: Package = Package {
    folder: "etcd-server",
    names: &["etcd-server"],
    program: "usr/bin/etcd",
    variable: "SLUICE_ETCD",
};

/// A Python module. `SLUICE_PYTHON3` names a Python that has it.
pub(crate) const GRPCIO: Package = Package {
    folder: "python3-grpcio",
    names: &["python3-grpcio"],
    program: "usr/lib/python3/dist-packages/grpc/__init__.py",
    variable: "SLUICE_PYTHON3",
};

pub(crate) const HAPROXY: Package = Package {
    folder: "haproxy",
    names: &["haproxy"],
    program: "usr/sbin/haproxy",
    variable: "SLUICE_HAPROXY",
};

pub(crate) const NGINX: Package = Package {
    folder: "nginx",
    names: &["nginx"],
    program: "usr/sbin/nginx",
    variable: "SLUICE_NGINX",
};

pub(crate) const PROMETHEUS: Package = Package {
    folder: "prometheus",
    names: &["prometheus"],
    program: "usr/bin/prometheus",
    variable: "SLUICE_PROMETHEUS",
};

impl Package {
    /// Makes sure that the program exists: installed, named by the environment, or unpacked from
    /// Debian's package and its dependencies.
    pub(crate) fn provide(&self) -> Result<()> {
        let Self { folder, names, program, variable } = *self;
        if self.path().is_some() {
            return Ok(());
        }
        self.unpack_to(&target().join(folder)).with_context(|| {
            let names = names.join(" ");
            format!("{program} is missing; install Debian's {names} or set {variable}")
        })?;
        ensure!(self.path().is_some(), "Debian's package {folder} does not contain {program}");
        Ok(())
    }

    /// Unpacks the package again, after the list of packages was updated: the list of a new machine
    /// can be months old, and with it the version that it names.
    pub(crate) fn renew(&self) -> Result<()> {
        update_list()?;
        let folder = target().join(self.folder);
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        self.provide()
    }

    fn path(&self) -> Option<PathBuf> {
        let named = std::env::var_os(self.variable).map(PathBuf::from);
        let folders = [PathBuf::from("/"), target().join(self.folder)];
        let places = folders.map(|root| root.join(self.program));
        named.or_else(|| places.into_iter().find(|path| path.is_file()))
    }

    fn unpack_to(&self, folder: &Path) -> Result<()> {
        announce(&format!(
            "downloading {name} to target/{name} (apt-get download); apt verifies Debian's \
             signature and the hash of each package",
            name = self.folder
        ));
        fs::create_dir_all(folder)?;
        for package in packages_in(folder)? {
            fs::remove_file(package)?;
        }
        self.download_to(folder).or_else(|_| {
            update_list()?;
            self.download_to(folder)
        })?;
        for package in packages_in(folder)? {
            let arguments = [Path::new("-x"), &package, folder];
            run(command("dpkg", arguments.map(|argument| argument.display().to_string())))?;
        }
        Ok(())
    }

    fn download_to(&self, folder: &Path) -> Result<()> {
        let missing = self.missing().context("apt-get does not know the package")?;
        // Root's download cannot use apt's sandbox user, because that user cannot write here.
        let options = ["download", "-qq", "-o", "APT::Sandbox::User=root"].map(str::to_owned);
        let mut download = command("apt-get", options.into_iter().chain(missing));
        download.current_dir(folder);
        run(download)
    }

    /// The package and those of its dependencies that are not installed on this machine.
    fn missing(&self) -> Option<Vec<String>> {
        let options = ["--simulate", "install", "--no-install-recommends"];
        let plan = output_of(command("apt-get", options.iter().chain(self.names)))?;
        let steps = plan.lines().filter_map(|line| line.strip_prefix("Inst "));
        Some(steps.filter_map(|step| Some(step.split_once(' ')?.0.to_owned())).collect())
    }
}

fn update_list() -> Result<()> {
    install("the current list of Debian's packages", &[&["apt-get", "update", "-qq"]])
}

fn packages_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let paths = fs::read_dir(folder)?.map(|entry| Ok(entry?.path()));
    let paths = paths.collect::<Result<Vec<_>>>()?;
    let is_package = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "deb");
    Ok(paths.into_iter().filter(is_package).collect())
}
