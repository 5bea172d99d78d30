//! Two replays of one trace, side by side, and the two reports of each exchange.
//!
//! Each replay has a thread. Exchanges end in the order of virtual time on both sides, so this side
//! always takes the next report of the replay that is behind. It keeps the reports of exchanges that
//! ended on one side only, and no more: its memory does not grow with the trace.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use rustc_hash::FxHashMap;
use sluice_sim::Module;
use sluice_sim::replay::{
    ConfigurationReport, ConnectionReport, ExchangeReport, MetricsReport, Note, Options, Progress,
    Sink, Summary, replay_to,
};
use sluice_sim::trace::TraceReader;

use crate::error::CliError;
use crate::progress::ProgressBar;
use crate::trace_input::Input;

/// The reports that a replay is ahead of the comparison.
const AHEAD: usize = 1024;

/// The module and the options of one replay.
pub(super) struct Side {
    /// The configuration or the module, for errors.
    pub(super) file: PathBuf,
    pub(super) module: Module,
    pub(super) options: Options,
}

/// The reports of one exchange; `None` on a side that did not run it.
pub(super) type Pair = [Option<Box<ExchangeReport<'static>>>; 2];

/// Replays the trace on both sides, and passes each pair to `add`. Also returns the first line that
/// pushed a configuration which the new side accepted.
pub(super) fn replay(
    input: &Input,
    sides: [&Side; 2],
    mut add: impl FnMut(Pair),
) -> Result<([Summary; 2], Option<u32>), CliError> {
    // Both are opened before a replay begins, so that a missing file has one error.
    let fix = "write it to a file first";
    let [old, new] = [input.open_first(fix)?, input.open_first(fix)?];
    let bar = ProgressBar::of(&old);
    let old_reader = TraceReader::new(old.name, old.reader)?;
    let new_reader = TraceReader::new(new.name, new.reader)?;
    let push = AtomicU32::new(u32::MAX);
    let summaries = thread::scope(|scope| {
        let (old_sink, old_reports) = Reports::new(Some(&bar), None);
        let (new_sink, new_reports) = Reports::new(None, Some(&push));
        let run = |side: &'_ Side, reader, mut sink: Reports<'_>| {
            replay_to(Some(&side.module), reader, &side.options, &mut sink)
        };
        let old = scope.spawn(move || run(sides[0], old_reader, old_sink));
        let new = scope.spawn(move || run(sides[1], new_reader, new_sink));
        join([old_reports, new_reports], &mut add);
        [old, new].map(|thread| match thread.join() {
            Ok(summary) => summary,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    });
    bar.finish();
    let [old, new] = summaries;
    let named = |side: usize, source| CliError::Side { file: sides[side].file.clone(), source };
    let (old, new) = (old.map_err(|error| named(0, error)), new.map_err(|error| named(1, error)));
    let push = Some(push.into_inner()).filter(|line| *line != u32::MAX);
    Ok(([old?, new?], push))
}

/// Brings the two reports of each exchange together.
fn join(reports: [Receiver<Box<ExchangeReport<'static>>>; 2], add: &mut impl FnMut(Pair)) {
    let mut waiting: [FxHashMap<u64, Box<ExchangeReport<'static>>>; 2] = Default::default();
    // The time of the last report, `None` after the end.
    let mut times = [Some(Duration::ZERO); 2];
    loop {
        let side = match times {
            [None, None] => break,
            [Some(_), None] => 0,
            [None, Some(_)] => 1,
            [Some(old), Some(new)] => usize::from(new < old),
        };
        let Ok(report) = reports[side].recv() else {
            times[side] = None;
            continue;
        };
        times[side] = Some(report.sent + report.last_byte);
        match waiting[1 - side].remove(&report.number) {
            Some(other) if side == 0 => add([Some(report), Some(other)]),
            Some(other) => add([Some(other), Some(report)]),
            None => {
                waiting[side].insert(report.number, report);
            }
        }
    }
    // After a replay that a limit stopped, exchanges of the other one are left.
    let [old, new] = waiting.map(|side| {
        let mut side: Vec<_> = side.into_values().collect();
        side.sort_by_key(|report| report.number);
        side
    });
    old.into_iter().for_each(|report| add([Some(report), None]));
    new.into_iter().for_each(|report| add([None, Some(report)]));
}

/// The sink of one replay.
struct Reports<'b> {
    sender: SyncSender<Box<ExchangeReport<'static>>>,
    bar: Option<&'b ProgressBar>,
    /// The first line that pushed a configuration.
    push: Option<&'b AtomicU32>,
}

impl<'b> Reports<'b> {
    fn new(
        bar: Option<&'b ProgressBar>,
        push: Option<&'b AtomicU32>,
    ) -> (Self, Receiver<Box<ExchangeReport<'static>>>) {
        let (sender, receiver) = sync_channel(AHEAD);
        (Self { sender, bar, push }, receiver)
    }
}

impl Sink for Reports<'_> {
    fn exchange(&mut self, exchange: ExchangeReport<'_>) -> io::Result<()> {
        let sent = self.sender.send(Box::new(exchange.into_owned()));
        sent.map_err(|_| io::Error::other("the comparison has ended"))
    }

    fn connection(&mut self, _: ConnectionReport<'_>) -> io::Result<()> {
        Ok(())
    }

    fn configuration(&mut self, push: ConfigurationReport) -> io::Result<()> {
        if let Some(first) = self.push.filter(|_| push.accepted) {
            first.fetch_min(push.line, Ordering::Relaxed);
        }
        Ok(())
    }

    fn metrics(&mut self, _: MetricsReport) -> io::Result<()> {
        Ok(())
    }

    fn note(&mut self, _: Note) -> io::Result<()> {
        Ok(())
    }

    fn progress(&mut self, progress: Progress) {
        if let Some(bar) = self.bar {
            bar.show(progress);
        }
    }
}
