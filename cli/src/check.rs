//! `sluice check`: checks whether the filter accepts a configuration, prints what each route does,
//! and in the file of a proxy also what surrounds the filter.

mod document;
mod surroundings;

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use sluice_filter::Loaded;
use sluice_filter::explain::summarize;
use sluice_filter::proxy_settings::ProxySettings;

use crate::configuration::{self, ConfigurationFile};
use crate::effects;
use crate::error::CliError;
use crate::files;
use crate::style::Palette;
use crate::text::count_items;
use crate::verdict::Verdict;
use crate::yaml::{self, Booleans, Tree};

/// A note about a configuration that is not JSON.
const YAML_NOTE: &str =
    "the filter reads JSON: pass the proxy what `sluice check --to-json` prints";

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit status: 0 if the filter accepts every configuration, 1 with --strict and a \
                        warning, 2 if it rejects one or a file cannot be read."
)]
pub(crate) struct Arguments {
    /// Configurations (JSON or YAML), or files of Envoy, Istio or Envoy Gateway with one; - is
    /// standard input
    #[arg(value_name = "FILE", required_unless_present = "config")]
    files: Vec<PathBuf>,
    /// The same as FILE
    #[arg(long, value_name = "FILE", hide = true)]
    config: Option<PathBuf>,
    /// Exit with status 1 if there is a warning
    #[arg(long)]
    strict: bool,
    /// Print the configuration as JSON, as the filter reads it, and nothing else
    #[arg(long)]
    to_json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Verdict, CliError> {
    let mut warnings = 0;
    let mut rejected = None;
    for file in arguments.files.iter().chain(&arguments.config) {
        match check(file, arguments.to_json) {
            Ok(found) => warnings += found,
            // Every mistake is printed; the last one ends the command.
            Err(error) => {
                if let Some(error) = rejected.replace(error) {
                    eprintln!("sluice: {error}");
                }
            }
        }
    }
    match rejected {
        Some(error) => Err(error),
        None => Ok(Verdict::from_failures(if arguments.strict { warnings } else { 0 })),
    }
}

/// Checks a file, and returns the number of warnings.
fn check(file: &Path, to_json: bool) -> Result<usize, CliError> {
    let palette = Palette::new(io::stdout().is_terminal());
    let (text, note) = match configuration::read(file)? {
        ConfigurationFile::Other(trees) => return check_proxy(file, &trees, to_json, palette),
        ConfigurationFile::Json(text) => (text, None),
        ConfigurationFile::Yaml(text) => (text, Some(YAML_NOTE)),
    };
    let loaded = configuration::parse(file, &text)?;
    if to_json {
        files::print(|out| out.write_all(&text).and_then(|()| writeln!(out)))?;
        return Ok(0);
    }
    let warnings = surroundings::warnings(&loaded, &ProxySettings::default());
    files::print(|out| {
        write_rules(&loaded, palette, out)?;
        write_warnings(&warnings, palette, out)?;
        note.map_or(Ok(()), |note| writeln!(out, "{}", palette.dim(note)))?;
        write_verdict(file, &loaded, warnings.len(), palette, out)
    })?;
    Ok(warnings.len())
}

/// Checks each configuration of the filter in the file of a proxy.
fn check_proxy(
    file: &Path,
    trees: &[Tree],
    to_json: bool,
    palette: Palette,
) -> Result<usize, CliError> {
    let plugins = document::plugins(trees);
    if plugins.is_empty() {
        return Err(CliError::NoConfigurationFound { file: file.to_owned() });
    }
    let mut count = 0;
    let mut rejected = None;
    for plugin in &plugins {
        let place = PathBuf::from(format!("{}:{}", configuration::name(file), plugin.line));
        match configuration::parse(&place, plugin.configuration.as_bytes()) {
            Ok(_) if to_json => {
                files::print(|out| writeln!(out, "{}", plugin.configuration.trim_end()))?;
            }
            Ok(loaded) => count += print_plugin(file, plugin, trees, &loaded, palette)?,
            // The mistake of one plugin does not hide those of the next one.
            Err(error) => {
                if let Some(error) = rejected.replace(error) {
                    eprintln!("sluice: {error}");
                }
            }
        }
    }
    rejected.map_or(Ok(count), Err)
}

/// Checks the file of a proxy, for the fuzz target, and returns the number of warnings.
#[doc(hidden)]
#[must_use]
pub fn warnings_in(text: &str) -> usize {
    let trees = yaml::parse(text, Booleans::Yaml11).unwrap_or_default();
    let plugins = document::plugins(&trees);
    let count = |plugin: &document::Plugin<'_>| {
        let loaded = sluice_filter::load(plugin.configuration.as_bytes()).ok()?;
        let around = surroundings::findings(plugin, &trees, &loaded).len();
        Some(surroundings::warnings(&loaded, &surroundings::settings(plugin)).len() + around)
    };
    plugins.iter().filter_map(count).sum()
}

fn print_plugin(
    file: &Path,
    plugin: &document::Plugin<'_>,
    trees: &[Tree],
    loaded: &Loaded,
    palette: Palette,
) -> Result<usize, CliError> {
    let name = configuration::name(file);
    let place = PathBuf::from(format!("{name}:{}", plugin.line));
    let mut warnings = surroundings::warnings(loaded, &surroundings::settings(plugin));
    let around = surroundings::findings(plugin, trees, loaded);
    warnings.extend(around.iter().map(|found| format!("{name}:{}: {}", found.line, found.text)));
    files::print(|out| {
        write_rules(loaded, palette, out)?;
        write_warnings(&warnings, palette, out)?;
        write_verdict(&place, loaded, warnings.len(), palette, out)
    })?;
    Ok(warnings.len())
}

fn write_rules(loaded: &Loaded, palette: Palette, out: &mut dyn Write) -> io::Result<()> {
    let summary = summarize(&loaded.rules);
    for row in &summary.routes {
        writeln!(out, "{}", palette.strong(&row.name))?;
        writeln!(out, "    {}", palette.dim(&row.conditions))?;
        effects::write(out, &row.effects)?;
    }
    if !summary.general.is_empty() {
        writeln!(out, "{}", palette.strong("all routes"))?;
        effects::write(out, &summary.general)?;
    }
    Ok(())
}

fn write_warnings(warnings: &[String], palette: Palette, out: &mut dyn Write) -> io::Result<()> {
    warnings.iter().try_for_each(|warning| writeln!(out, "{} {warning}", palette.bad("warning:")))
}

fn write_verdict(
    place: &Path,
    loaded: &Loaded,
    warnings: usize,
    palette: Palette,
    out: &mut dyn Write,
) -> io::Result<()> {
    writeln!(
        out,
        "{}: {}, {}, {}",
        configuration::name(place),
        palette.good("accepted"),
        count_items(loaded.rules.routes.len(), "route"),
        count_items(warnings, "warning"),
    )
}
