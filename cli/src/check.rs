//! `sluice check`: checks whether the filter accepts a configuration, and prints what each route
//! does.

use std::io::{self, IsTerminal};
use std::path::PathBuf;

use sluice_filter::explain::summarize;

use crate::error::CliError;
use crate::files;
use crate::style::Palette;
use crate::text::count_items;
use crate::verdict::Verdict;
use crate::{configuration, effects};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Plugin configuration (JSON)
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Verdict, CliError> {
    let loaded = configuration::load(&arguments.config)?;
    let palette = Palette::new(io::stdout().is_terminal());
    let summary = summarize(&loaded.rules);
    files::print(|out| {
        for row in &summary.routes {
            writeln!(out, "{}", palette.strong(&row.name))?;
            writeln!(out, "    {}", palette.dim(&row.conditions))?;
            effects::write(out, &row.effects)?;
        }
        if !summary.general.is_empty() {
            writeln!(out, "{}", palette.strong("all routes"))?;
            effects::write(out, &summary.general)?;
        }
        for warning in &loaded.warnings {
            writeln!(out, "{} {warning}", palette.bad("warning:"))?;
        }
        // The last row describes requests that match no route.
        let routes = summary.routes.len() - 1;
        writeln!(
            out,
            "{}: {}, {}, {}",
            arguments.config.display(),
            palette.good("accepted"),
            count_items(routes, "route"),
            count_items(loaded.warnings.len(), "warning"),
        )
    })?;
    Ok(Verdict::Passed)
}
