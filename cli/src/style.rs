//! Colors for standard output.
//!
//! `--color` decides, else colors appear on a terminal if `NO_COLOR` is unset or empty. The style is a
//! value, so the code that prints does not read the environment.

use std::fmt::Display;

use anstyle::{AnsiColor, Style};
use colorchoice::ColorChoice;

const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default();
const DIM: Style = Style::new().dimmed();
const STRONG: Style = Style::new().bold();

/// The colors of one output.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Palette {
    enabled: bool,
}

impl Palette {
    pub(crate) fn new(is_terminal: bool) -> Self {
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let enabled = match ColorChoice::global() {
            ColorChoice::Auto => is_terminal && !no_color,
            ColorChoice::AlwaysAnsi | ColorChoice::Always => true,
            ColorChoice::Never => false,
        };
        Self { enabled }
    }

    pub(crate) fn good(self, text: impl Display) -> String {
        self.paint(GOOD, text)
    }

    pub(crate) fn bad(self, text: impl Display) -> String {
        self.paint(BAD, text)
    }

    pub(crate) fn dim(self, text: impl Display) -> String {
        self.paint(DIM, text)
    }

    pub(crate) fn strong(self, text: impl Display) -> String {
        self.paint(STRONG, text)
    }

    fn paint(self, style: Style, text: impl Display) -> String {
        match self.enabled {
            true => format!("{style}{text}{style:#}"),
            false => text.to_string(),
        }
    }
}
