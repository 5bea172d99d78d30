//! `sluice drain`: starts, shows and ends the drain of running proxies, and waits until a drain is
//! complete.
//!
//! One proxy is reached through its admin path. A fleet is reached through the key in etcd that its
//! proxies poll.

mod clock;
mod endpoint;
pub(crate) mod error;
mod etcd;
mod http;
mod progress;
mod proxy;
mod report;
mod state;
mod target;
mod token;
mod wait;

use std::time::Duration;

use serde_json::{Value, json};
use sluice_filter::drain::{Command as DrainCommand, Record};

use self::endpoint::Endpoint;
use self::error::DrainError;
use self::progress::{End, Goal};
use self::report::{Format, Line};
use self::state::ProxyState;
use self::target::{Started, TargetArguments};
use self::wait::Waited;
use crate::files;
use crate::text::ShortDuration;
use crate::verdict::Verdict;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Start a drain, and optionally wait until it is complete
    ///
    /// Exit status: 0 the drain was started, and with --wait is complete; 1 it is not complete
    /// within the time of --wait; 2 bad input, a rejected command, or no response.
    Start(StartArguments),
    /// Show the drain in force and the number of in-flight requests
    ///
    /// Exit status: 0 if every proxy responds, 2 for bad input or no response.
    Status(StatusArguments),
    /// End the drain in force
    ///
    /// Exit status: 0 if the drain has ended, 2 for bad input, a rejected command or no response.
    End(EndArguments),
}

#[derive(Debug, clap::Args)]
pub(crate) struct StartArguments {
    #[command(flatten)]
    target: TargetArguments,
    /// Admin path or health path of a proxy to wait for, with --etcd; may be repeated. Each
    /// receives the token
    #[arg(long, value_name = "URL", requires = "etcd", requires = "wait")]
    watch: Vec<Endpoint>,
    /// Connections to close
    #[arg(long, value_enum)]
    mode: Mode,
    /// Time over which to spread the closes, such as 20s [default: 30s; 0 for terminate]
    #[arg(long, value_name = "DURATION")]
    window: Option<String>,
    /// Share of the connections that a rebalance closes, from 1 to 100
    #[arg(long, value_name = "N")]
    percent: Option<u64>,
    /// Close a connection only after a response of this route; may be repeated
    #[arg(long = "route", value_name = "NAME")]
    routes: Vec<String>,
    /// Number of the drain; a higher number replaces a lower one [default: the next number]
    #[arg(long, value_name = "N")]
    epoch: Option<u64>,
    /// Wait at most this long, such as 60s, for the end of the window and, with --mode terminate,
    /// for the end of all in-flight requests
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    wait: Option<Duration>,
    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Debug, clap::Args)]
pub(crate) struct StatusArguments {
    #[command(flatten)]
    target: TargetArguments,
    /// Admin path or health path of a proxy to show as well, with --etcd; may be repeated. Each
    /// receives the token
    #[arg(long, value_name = "URL", requires = "etcd")]
    watch: Vec<Endpoint>,
    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Debug, clap::Args)]
pub(crate) struct EndArguments {
    #[command(flatten)]
    target: TargetArguments,
    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    /// All connections, new ones too; the health check fails
    Terminate,
    /// All connections that are open when the drain starts
    Reload,
    /// A share of the connections that are open when the drain starts
    Rebalance,
}

pub(crate) fn run(command: &Command) -> Result<Verdict, DrainError> {
    match command {
        Command::Start(start) => start.run(),
        Command::Status(status) => status.run(),
        Command::End(end) => {
            let off = parse_command(&json!({ "mode": "off" }))?;
            show(&end.target.target(&[])?.start(&off)?, "ended", end.format)
        }
    }
}

impl StartArguments {
    fn run(&self) -> Result<Verdict, DrainError> {
        let command = self.command()?;
        let target = self.target.target(&self.watch)?;
        let Some(timeout) = self.wait else {
            return show(&target.start(&command)?, "started", self.format);
        };
        if target.proxies().is_empty() {
            return Err(DrainError::NothingToWatch);
        }
        let started = target.start(&command)?;
        let goal = Goal::from(&started.record);
        let waited = wait::wait(goal, target.proxies(), started.snapshot.state(), timeout);
        self.conclude(&waited, goal)
    }

    /// The drain of these arguments, checked by the filter's own rules.
    fn command(&self) -> Result<DrainCommand, DrainError> {
        if self.percent.is_some() && self.mode != Mode::Rebalance {
            return Err(DrainError::PercentWithoutRebalance);
        }
        let fields = [
            ("mode", json!(self.mode)),
            ("window", json!(self.window)),
            ("percent", json!(self.percent)),
            ("routes", json!((!self.routes.is_empty()).then_some(&self.routes))),
            ("epoch", json!(self.epoch)),
        ];
        parse_command(&fields.into_iter().filter(|(_, value)| !value.is_null()).collect())
    }

    fn conclude(&self, waited: &Waited, goal: Goal) -> Result<Verdict, DrainError> {
        let Waited { progress, end, elapsed } = waited;
        let milliseconds = elapsed.as_millis().try_into().unwrap_or(u64::MAX);
        let time = ShortDuration(Duration::from_millis(milliseconds));
        let epoch = goal.epoch;
        let (outcome, message) = match end {
            End::Complete => ("done", format!("complete after {time}: {progress}")),
            End::TimedOut(missing) => (
                "time_up",
                format!("not complete after {time}; epoch {epoch} stays in force: {missing}"),
            ),
            End::Replaced(other) => ("overtaken", format!("{other} replaced epoch {epoch}")),
        };
        let is_complete = *end == End::Complete;
        if self.format == Format::Json {
            let lines = progress.proxies().iter().map(Line::from);
            report::print(Format::Json, Some(outcome), lines, clock::unix_ms())?;
        } else if is_complete {
            files::print(|out| writeln!(out, "{message}"))?;
        }
        if !is_complete {
            eprintln!("sluice: {message}");
        }
        Ok(if is_complete { Verdict::Passed } else { Verdict::Failed })
    }
}

impl StatusArguments {
    fn run(&self) -> Result<Verdict, DrainError> {
        let target = self.target.target(&self.watch)?;
        // If etcd does not respond, the states of the proxies are still printed.
        let stored = target.stored();
        let polled: Vec<_> =
            target.proxies().iter().map(|proxy| (proxy.url.to_string(), proxy.state())).collect();
        let proxies = polled.iter().map(|(url, result)| match result {
            Ok(state) => Line::State(url, state),
            Err(error) => Line::Failed(url, None, error),
        });
        let lines = stored.iter().flatten().map(Line::from).chain(proxies);
        report::print(self.format, None, lines, clock::unix_ms())?;
        stored?;
        match polled.iter().filter(|(_, result)| result.is_err()).count() {
            0 => Ok(Verdict::Passed),
            silent => Err(DrainError::Unreported { silent, all: polled.len() }),
        }
    }
}

/// The drain in force after `command`, if etcd or the admin path of a proxy has sent this response,
/// for the fuzz targets; `None` if the response or the command is rejected.
#[doc(hidden)]
#[must_use]
pub fn record_after(
    is_etcd: bool,
    status: u16,
    body: Vec<u8>,
    command: &DrainCommand,
    now_ms: u64,
) -> Option<Record> {
    let response = http::Response { status, body };
    match is_etcd {
        true => etcd::next_record(&response, command, now_ms).ok(),
        false => ProxyState::from_admin(&response).ok()?.started(command).ok(),
    }
}

fn parse_command(fields: &Value) -> Result<DrainCommand, DrainError> {
    DrainCommand::parse(fields.to_string().as_bytes()).map_err(DrainError::Command)
}

fn show(started: &Started, outcome: &str, format: Format) -> Result<Verdict, DrainError> {
    report::print(format, Some(outcome), [Line::from(&started.snapshot)], clock::unix_ms())?;
    Ok(Verdict::Passed)
}
