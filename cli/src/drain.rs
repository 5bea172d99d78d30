//! `sluice drain`: the operator's hand. It starts, shows and ends the drain of running proxies, through the admin path of
//! one or through the key in etcd that a fleet polls, and waits until a drain has done its work.

mod clock;
mod etcd;
mod http;
mod proxy;
mod report;
mod state;
mod target;
mod token;
mod url;
mod wait;
mod watch;

use std::time::Duration;

use serde_json::json;
use sluice_filter::drain::{Command as Order, RecordError};

use self::proxy::Proxy;
use self::report::{Format, Told};
use self::target::{Started, Target};
use self::url::Url;
use self::wait::Waited;
use self::watch::Goal;
use crate::Verdict;
use crate::style::Short;

/// What `sluice drain` does.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Starts a drain, and waits for its end if asked to
    ///
    /// Exit status: 0 the drain was started, or has done its work where --wait asks for that; 1 it has not, in spite of the
    /// time given; 2 bad input, refused or no answer.
    Start(Start),
    /// Shows the drain in force and what is in flight
    Status(Status),
    /// Ends the drain in force
    End(End),
}

/// What `sluice drain start` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Start {
    #[command(flatten)]
    target: Target,
    /// The admin path or health path of a proxy that polls etcd, to wait for; may be repeated. A token is sent to each
    #[arg(long, value_name = "URL", requires = "etcd", requires = "wait")]
    watch: Vec<Url>,
    /// Which connections it closes
    #[arg(long, value_enum)]
    mode: Mode,
    /// The time over which the closes spread, such as 20s [default: 30s, for terminate none]
    #[arg(long, value_name = "SPAN")]
    window: Option<String>,
    /// The share of the connections that a rebalance closes, 1 to 100
    #[arg(long, value_name = "N")]
    percent: Option<u64>,
    /// Only responses of this route close connections; may be repeated
    #[arg(long = "route", value_name = "NAME")]
    routes: Vec<String>,
    /// The number of the drain [default: the next one]
    #[arg(long, value_name = "N")]
    epoch: Option<u64>,
    /// Waits at most so long, such as 60s, until the window is over and after a terminate nothing is in flight any more
    #[arg(long, value_name = "SPAN", value_parser = humantime::parse_duration)]
    wait: Option<Duration>,
    /// What to print
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// What `sluice drain status` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Status {
    #[command(flatten)]
    target: Target,
    /// The admin path or health path of a proxy that polls etcd, to show, too; may be repeated. A token is sent to each
    #[arg(long, value_name = "URL", requires = "etcd")]
    watch: Vec<Url>,
    /// What to print
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// What `sluice drain end` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct End {
    #[command(flatten)]
    target: Target,
    /// What to print
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    /// Every connection, new ones too: the instance goes away
    Terminate,
    /// Those that existed when it began
    Reload,
    /// A share of those that existed when it began
    Rebalance,
}

/// Runs the command.
pub(crate) fn run(command: &Command) -> Result<Verdict, String> {
    match command {
        Command::Start(start) => start.run(),
        Command::Status(status) => status.run(),
        Command::End(end) => {
            let order = order(&json!({ "mode": "off" }))?;
            show(&end.target.place(&[])?.start(&order)?, "ended", end.format)
        }
    }
}

impl Start {
    fn run(&self) -> Result<Verdict, String> {
        let order = self.order()?;
        let place = self.target.place(&self.watch)?;
        let Some(patience) = self.wait else {
            return show(&place.start(&order)?, "started", self.format);
        };
        if place.proxies().is_empty() {
            let hint = "name each proxy's admin path or health path with --watch";
            return Err(format!("--wait has nobody to ask about a drain in etcd; {hint}"));
        }
        let started = place.start(&order)?;
        let goal = started.record.as_ref().map(Goal::from);
        let goal = goal.ok_or("a drain was started, but has no record")?;
        let waited = wait::wait(goal, place.proxies(), started.state(), patience);
        self.conclude(&waited, goal)
    }

    /// The drain that is asked for, held against the filter's own rules.
    fn order(&self) -> Result<Order, String> {
        if self.percent.is_some() && self.mode != Mode::Rebalance {
            return Err("--percent: only --mode rebalance closes a share".to_owned());
        }
        let fields = [
            ("mode", json!(self.mode)),
            ("window", json!(self.window)),
            ("percent", json!(self.percent)),
            ("routes", json!((!self.routes.is_empty()).then_some(&self.routes))),
            ("epoch", json!(self.epoch)),
        ];
        order(&fields.into_iter().filter(|(_, value)| !value.is_null()).collect())
    }

    fn conclude(&self, waited: &Waited, goal: Goal) -> Result<Verdict, String> {
        let Waited { watch, end, time } = waited;
        let time = Short(Duration::from_millis(time.as_millis().try_into().unwrap_or(u64::MAX)));
        let epoch = goal.epoch;
        let (outcome, message) = match end {
            watch::End::Done => ("done", format!("done after {time}: {watch}")),
            watch::End::TimeUp(missing) => (
                "time_up",
                format!("time is up after {time}, epoch {epoch} stays in force: {missing}"),
            ),
            watch::End::Overtaken(other) => {
                ("overtaken", format!("epoch {epoch} is not in force: {other} is"))
            }
        };
        let is_done = outcome == "done";
        if self.format == Format::Json {
            let told = watch.proxies().iter().map(Told::from);
            report::print(Format::Json, Some(outcome), told, clock::unix_ms())?;
        } else if is_done {
            crate::files::print(|out| writeln!(out, "{message}"))?;
        }
        if !is_done {
            eprintln!("sluice: {message}");
        }
        Ok(if is_done { Verdict::Held } else { Verdict::Failed })
    }
}

impl Status {
    fn run(&self) -> Result<Verdict, String> {
        let place = self.target.place(&self.watch)?;
        // A store that is down hides no proxy.
        let stored = place.stored();
        let ask = |proxy: &Proxy| (proxy.url.to_string(), proxy.state());
        let seen: Vec<_> = place
            .proxies()
            .iter()
            .map(ask)
            .map(|(url, seen)| (url, seen.map_err(|error| error.to_string())))
            .collect();
        let told = seen.iter().map(|(url, seen)| match seen {
            Ok(state) => Told::State(url, state),
            Err(trouble) => Told::Nothing(url, None, trouble),
        });
        let told = stored.iter().flatten().map(Started::told).chain(told);
        report::print(self.format, None, told, clock::unix_ms())?;
        stored?;
        match seen.iter().filter(|(_, seen)| seen.is_err()).count() {
            0 => Ok(Verdict::Held),
            failed => Err(format!("{failed} of {} proxies told no state", seen.len())),
        }
    }
}

fn order(fields: &serde_json::Value) -> Result<Order, String> {
    Order::parse(fields.to_string().as_bytes()).map_err(|error| match error {
        RecordError::Wrong(error) => error.to_string(),
        error => error.to_string(),
    })
}

fn show(started: &Started, outcome: &'static str, format: Format) -> Result<Verdict, String> {
    report::print(format, Some(outcome), [started.told()], clock::unix_ms())?;
    Ok(Verdict::Held)
}
