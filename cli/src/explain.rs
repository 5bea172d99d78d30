//! `sluice explain`: the route that a request takes, the conditions that failed before it, and
//! every effect.

use std::io::{self, IsTerminal};
use std::path::PathBuf;

use sluice_filter::explain::explain;
use sluice_filter::request::RequestView;

use crate::error::CliError;
use crate::files;
use crate::request::RequestArguments;
use crate::style::Palette;
use crate::verdict::Verdict;
use crate::{configuration, effects};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Plugin configuration (JSON)
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    #[command(flatten)]
    request: RequestArguments,
    /// Name of the proxy's own route, which a condition `route_name` matches (property
    /// xds.route_name)
    #[arg(long, value_name = "NAME")]
    route_name: Option<String>,
    /// Policy in the metadata of the proxy's own route, which a condition `policy` matches
    #[arg(long, value_name = "NAME")]
    policy: Option<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Verdict, CliError> {
    let loaded = configuration::load(&arguments.config)?;
    let headers = arguments.request.headers()?;
    let mut request = RequestView::new(&headers);
    request.route_name = arguments.route_name.as_deref().map(str::as_bytes);
    request.policy = arguments.policy.as_deref().map(str::as_bytes);
    let explanation = explain(&loaded.rules, &request);

    let palette = Palette::new(io::stdout().is_terminal());
    files::print(|out| {
        for tried in &explanation.tried {
            writeln!(out, "{} {}", palette.bad("✗"), tried.name)?;
            for failed in &tried.failed {
                let (condition, expected) = (&failed.condition, &failed.expected);
                writeln!(out, "    {condition}: expected {expected}, found {}", failed.found)?;
            }
        }
        match &explanation.route {
            Some(route) => writeln!(out, "{} {}", palette.good("✓"), palette.strong(route))?,
            None => writeln!(out, "{} no route matches: defaults", palette.good("✓"))?,
        }
        effects::write(out, &explanation.effects)
    })?;
    Ok(Verdict::Passed)
}
