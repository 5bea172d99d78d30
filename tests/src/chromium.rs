//! A real browser: Chromium without a window.

use crate::debian;
use crate::process::ServerProcess;

/// What Chromium must not do in a test: show windows, isolate itself from a root user, contact
/// servers of its own, or try another protocol than TCP.
const OPTIONS: [&str; 10] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--disable-sync",
    "--no-first-run",
    // The proxies of tests sign their certificates themselves.
    "--ignore-certificate-errors",
];

/// A running Chromium with one page. Its other processes end with the process that this value
/// kills.
#[derive(Debug)]
pub struct Chromium(
    #[expect(dead_code, reason = "it ends the process when dropped")] ServerProcess,
);

impl Chromium {
    /// Starts Chromium with a profile of its own and opens this URL.
    ///
    /// # Panics
    /// If Chromium is not found.
    pub fn open(url: &str) -> Self {
        Self(ServerProcess::start("Chromium", |folder| {
            let mut command = debian::command("chromium", "chromium");
            let profile = folder.path().join("profile");
            command.args(OPTIONS).arg(format!("--user-data-dir={}", profile.display())).arg(url);
            command
        }))
    }
}
