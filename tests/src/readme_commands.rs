//! Runs the commands of an example's README, in a copy of the example with unused ports and a
//! separate temporary folder.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::net::TcpStream;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::{debian, envoy, eventually, root, unused_port};

/// The programs that the examples start, and the port on which each listens.
const PORTS: [(&str, u16); 4] =
    [("python3", 8080), ("envoy", 10000), ("envoy", 9901), ("prometheus", 9090)];

/// The command blocks of a README that have not run yet, and the programs that the earlier ones
/// started.
#[derive(Debug)]
pub struct ReadmeCommands {
    blocks: Vec<String>,
    /// The port that replaces each port of the example.
    ports: BTreeMap<u16, u16>,
    folder: TempDir,
    running: Vec<Child>,
}

impl ReadmeCommands {
    /// Reads the README of an example.
    ///
    /// # Panics
    /// If it does not exist.
    pub fn open(example: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let ports = PORTS.map(|(_, port)| (port, unused_port())).into();
        let mut commands = Self { blocks: Vec::new(), ports, folder, running: Vec::new() };
        let examples = root().join("envoy-examples");
        // Other examples use files of `drain-bridge`.
        for folder in BTreeSet::from([example, "drain-bridge"]) {
            commands.copy(&examples.join(folder));
        }
        symlink(root().join("target"), commands.folder.path().join("target"))
            .expect("a symbolic link");
        commands.write_programs();
        let readme = fs::read_to_string(examples.join(example).join("README.md"));
        let readme = commands.localized(&readme.expect("an example has a README"));
        let blocks =
            readme.split("\n```sh\n").skip(1).filter_map(|rest| rest.split("\n```\n").next());
        commands.blocks = blocks.map(str::to_owned).collect();
        commands
    }

    /// The port that replaces a port of the example.
    pub fn port(&self, port: u16) -> u16 {
        self.ports[&port]
    }

    /// Runs the next block of commands; returns the output of the commands in the foreground.
    ///
    /// # Panics
    /// If a command fails, or a program that it starts does not listen.
    pub fn next_block(&mut self) -> String {
        let block = self.blocks.remove(0);
        let mut printed = String::new();
        for line in block.lines() {
            match line.strip_suffix(" &") {
                Some(line) => self.start(line),
                None => printed += &self.run(line),
            }
        }
        printed
    }

    fn start(&mut self, line: &str) {
        let log = File::options().create(true).append(true).open(self.folder.path().join("log"));
        let log = log.expect("a temporary folder");
        let mut shell = self.shell(&format!("exec {line}"));
        let child = shell.stdout(Stdio::null()).stderr(log).spawn();
        self.running.push(child.expect("bash is installed"));
        let program = line.split(' ').next().unwrap_or(line);
        for (name, port) in PORTS {
            if name == program {
                let port = self.port(port);
                let what = format!("`{line}` to listen on {port}");
                eventually(&what, || TcpStream::connect(("127.0.0.1", port)).ok());
            }
        }
    }

    fn run(&self, line: &str) -> String {
        let output = self.shell(line).output().expect("bash is installed");
        assert!(output.status.success(), "`{line}` failed ({})", output.status);
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn shell(&self, line: &str) -> Command {
        let mut shell = Command::new("bash");
        let path = std::env::var("PATH").unwrap_or_default();
        let programs = self.folder.path().join("programs");
        shell.args(["-c", line]).current_dir(self.folder.path()).stdin(Stdio::null());
        shell.env("PATH", format!("{}:{path}", programs.display()));
        shell
    }

    /// Replaces the programs that a reader has installed: `envoy` and `prometheus` use our binaries
    /// and ports, and `cargo` does not build.
    fn write_programs(&self) {
        let envoy = script(&envoy::command(), "--use-dynamic-base-id --log-level warning");
        let listen = format!("--web.listen-address=127.0.0.1:{}", self.port(9090));
        let prometheus = script(&debian::command("prometheus", "prometheus"), &listen);
        // The module is built before the tests start.
        let cargo = "[ \"$*\" = \"xtask build\" ] && [ -f target/sluice_filter.wasm ]".to_owned();
        let folder = self.folder.path().join("programs");
        fs::create_dir(&folder).expect("a temporary folder");
        for (name, script) in [("envoy", envoy), ("prometheus", prometheus), ("cargo", cargo)] {
            let file = folder.join(name);
            fs::write(&file, format!("#!/bin/bash\n{script}\n")).expect("a temporary folder");
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755))
                .expect("a temporary file");
        }
    }

    /// Copies the files of an example, with replaced ports.
    fn copy(&self, example: &Path) {
        let place = example.strip_prefix(root()).expect("a folder of the repository");
        let to = self.folder.path().join(place);
        fs::create_dir_all(&to).expect("a temporary folder");
        for entry in fs::read_dir(example).expect("a folder of the examples") {
            let path = entry.expect("an entry").path();
            let text = fs::read_to_string(&path).expect("a text");
            let name = path.file_name().expect("a file has a name");
            fs::write(to.join(name), self.localized(&text)).expect("a temporary folder");
        }
    }

    /// Replaces the ports and `/tmp` in a text.
    fn localized(&self, text: &str) -> String {
        let letters: Vec<char> = text.chars().collect();
        let runs = letters.chunk_by(|a, b| a.is_ascii_digit() == b.is_ascii_digit());
        let replaced = runs.map(|run| {
            let run = String::from_iter(run);
            let port = run.parse().ok().and_then(|port: u16| self.ports.get(&port));
            port.map_or(run, u16::to_string)
        });
        replaced.collect::<String>().replace("/tmp/", &format!("{}/", self.folder.path().display()))
    }
}

/// A script that starts a program with its own arguments and `more`.
fn script(program: &Command, more: &str) -> String {
    format!("exec {} \"$@\" {more}", program.get_program().display())
}

impl Drop for ReadmeCommands {
    fn drop(&mut self) {
        for child in self.running.iter_mut().rev() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            eprintln!("--- the output of the commands in the background\n{log}---");
        }
    }
}
