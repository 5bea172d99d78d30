//! `sluice check`: whether the filter accepts a configuration, and what its routes do.

use std::io::{self, IsTerminal};
use std::path::PathBuf;

use sluice_filter::explain::{Effect, summarize};
use sluice_filter::load;

use super::style::Style;
use super::{Verdict, files};

/// What `sluice check` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The plugin configuration, a JSON file
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments) -> Result<Verdict, String> {
    let text = files::read(&arguments.config).map_err(|error| error.to_string())?;
    let name = arguments.config.display();
    let loaded = load(&text).map_err(|error| format!("{name}: {error}"))?;
    let style = Style::new(io::stdout().is_terminal());
    let summary = summarize(&loaded.rules);
    files::print(|out| {
        for row in &summary.routes {
            writeln!(out, "{}", style.strong(&row.name))?;
            writeln!(out, "    {}", style.dim(&row.conditions))?;
            effects(out, &row.effects)?;
        }
        if !summary.general.is_empty() {
            writeln!(out, "{}", style.strong("all routes"))?;
            effects(out, &summary.general)?;
        }
        for warning in &loaded.warnings {
            writeln!(out, "{} {warning}", style.bad("warning:"))?;
        }
        let routes = summary.routes.len() - 1;
        writeln!(
            out,
            "{name}: {}, {routes} route{}, {} warning{}",
            style.good("accepted"),
            plural(routes),
            loaded.warnings.len(),
            plural(loaded.warnings.len()),
        )
    })?;
    Ok(Verdict::Held)
}

/// A line for each effect, its setting first.
pub(crate) fn effects(out: &mut dyn io::Write, effects: &[Effect]) -> io::Result<()> {
    let width = effects.iter().map(|effect| effect.setting.len()).max().unwrap_or(0);
    effects
        .iter()
        .try_for_each(|effect| writeln!(out, "    {:width$}  {}", effect.setting, effect.text))
}

/// The ending of a noun that is counted.
pub(crate) fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}
