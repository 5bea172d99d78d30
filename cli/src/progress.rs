//! The progress bar of a long replay, on a terminal.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use indicatif::ProgressStyle;
use sluice_sim::replay::Progress;

use crate::trace_input::OpenInput;

/// A shorter trace ends before a progress bar can be read, in bytes.
const FROM: u64 = 4 << 20;

pub(crate) struct ProgressBar {
    bar: indicatif::ProgressBar,
    /// The bytes that were read so far.
    read: Arc<AtomicU64>,
}

impl ProgressBar {
    /// The bar for a trace, which is hidden if the trace is short. indicatif hides it if standard
    /// error is not a terminal.
    pub(crate) fn of(input: &OpenInput) -> Self {
        let (bar, template) = match input.bytes {
            Some(bytes) if bytes < FROM => (indicatif::ProgressBar::hidden(), ""),
            Some(bytes) => {
                let template = "{msg} {wide_bar} {percent}% of {total_bytes}, {eta} left";
                (indicatif::ProgressBar::new(bytes), template)
            }
            None => (indicatif::ProgressBar::no_length(), "{msg} {spinner} {bytes}"),
        };
        let style = ProgressStyle::with_template(template);
        let bar = bar
            .with_message(input.name.clone())
            .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self { bar, read: Arc::clone(&input.read) }
    }

    pub(crate) fn show(&self, _: Progress) {
        self.bar.set_position(self.read.load(Ordering::Relaxed));
    }

    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
