//! The end of a replay before the end of its trace: the filter has used all instructions, or the
//! embedder interrupts the replay.

use crate::replay::report::Problem;

use super::Engine;

impl Engine<'_> {
    /// Whether the replay ends before its next step.
    pub(super) fn is_stopped(&self) -> bool {
        self.process.is_exhausted()
            || self.options.interrupt.reason().is_some()
            || self.report.has_failed()
    }

    /// Reports once why the replay has ended, and at which `place`: before the event on `line`, or at
    /// none.
    pub(super) fn report_stop(&mut self, line: Option<u32>, place: &str) {
        if std::mem::replace(&mut self.stop_reported, true) {
            return;
        }
        let reason = match self.options.interrupt.reason() {
            Some(reason) => reason.to_owned(),
            None => format!(
                "the filter executed {} instructions, the limit of the whole replay; raise \
                 Options::max_instructions (--max-instructions)",
                self.process.instructions()
            ),
        };
        let text = format!("the replay stopped {place}: {reason}");
        self.report.summary.add_problem(Problem { line, at: self.now, text });
    }
}
