//! `sluice import`: converts recorded traffic to a trace, so that a new configuration can be tested
//! with it before a proxy loads that configuration.
//!
//! ```text
//! log_format       a line of any known access log → the fields of Envoy's
//! envoy_log, har   a recording → records, each on its own
//! record           one exchange, whatever recorded it
//! secrets          replaces the secrets of a record
//! trace_writer     records → sorted by time, on disk if they are many → the lines of a trace
//! ```

mod envoy_log;
pub(crate) mod error;
mod har;
mod imported;
mod json_error;
mod log_format;
mod record;
mod secrets;
mod trace_writer;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead};
use std::path::{Path, PathBuf};

use self::envoy_log::Proxy;
use self::error::ImportError;
use self::imported::{Imported, LeftOut};
use self::log_format::LogFormat;
use self::secrets::Secrets;
use crate::files::{self, Output};
use crate::gzip::Decompressed;
use crate::text::count_items;
use crate::verdict::Verdict;

#[derive(Debug, clap::Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    source: Source,
}

const STATUS: &str = "Exit status: 0 if the trace is complete, 2 for invalid input or no request.";

#[derive(Debug, clap::Subcommand)]
enum Source {
    /// Import the access log of Envoy, Istio or Envoy Gateway
    ///
    /// The format of envoy-examples/access-log has everything that a trace can use. Envoy's default
    /// text and the formats of Istio and Envoy Gateway have fewer times, and no decisions.
    #[command(after_help = STATUS)]
    EnvoyLog(Recording),
    /// Import the access log of nginx (combined, or JSON with the names of nginx's variables)
    #[command(after_help = STATUS)]
    NginxLog(Recording),
    /// Import a HAR 1.2 file, which browsers export from the network panel of their developer tools
    #[command(after_help = STATUS)]
    Har(Recording),
}

#[derive(Debug, clap::Args)]
struct Recording {
    /// File to import; - is standard input
    file: PathBuf,
    /// Write only the requests, without expectations; use this to test a configuration that changes
    /// the results
    #[arg(long)]
    no_expect: bool,
    /// Also replace the values of this header or parameter of a query; can be repeated. Cookies,
    /// tokens, keys and passwords are always replaced
    #[arg(long, value_name = "NAME")]
    redact: Vec<String>,
    /// Write to a file instead of standard output
    #[arg(short = 'o', long = "output", value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Verdict, ImportError> {
    let (Source::EnvoyLog(recording) | Source::NginxLog(recording) | Source::Har(recording)) =
        &arguments.source;
    let name = match recording.file.as_os_str() == "-" {
        true => "standard input".to_owned(),
        false => recording.file.display().to_string(),
    };
    let output = recording.output.as_deref();
    files::reject_output_over_input(output, [&*recording.file])?;
    let input =
        open(&recording.file).map_err(|source| ImportError::Read { name: name.clone(), source })?;
    let mut imported = Imported::new(recording.no_expect, Secrets::new(&recording.redact));
    match &arguments.source {
        Source::EnvoyLog(_) => envoy_log::read(&name, input, Proxy::Envoy, &mut imported)?,
        Source::NginxLog(_) => envoy_log::read(&name, input, Proxy::Nginx, &mut imported)?,
        Source::Har(_) => har::read(&name, input, &mut imported)?,
    }
    let Imported { trace, records, left_out, format, .. } = imported;
    if records == 0 {
        return Err(match left_out.is_empty() {
            true => ImportError::Empty { name },
            false => ImportError::NothingImported { name, left_out: left_out_words(&left_out) },
        });
    }
    let trace_name = output.map_or_else(|| "trace".to_owned(), |path| path.display().to_string());
    let mut out = Output::create(output)?;
    trace.write(&name, &trace_name, |text| Ok(out.write(|out| out.write_all(text.as_bytes()))?))?;
    out.commit()?;
    if let Some((written, preset)) = format.and_then(LogFormat::preset) {
        eprintln!("{name}: {written}; the trace has the proxy preset {preset}");
    }
    if !left_out.is_empty() {
        let imported = count_items(records, "request");
        eprintln!("{name}: {imported} imported; left out: {}", left_out_words(&left_out));
    }
    Ok(Verdict::Passed)
}

/// The entries that are not in the trace, counted by their reason.
fn left_out_words(left_out: &BTreeMap<LeftOut, usize>) -> String {
    let words = left_out.iter().map(|(why, count)| format!("{count} {why}"));
    words.collect::<Vec<_>>().join(", ")
}

/// Converts a recording to a trace, for the fuzz targets; `None` if it is invalid.
#[doc(hidden)]
#[must_use]
pub fn converted(is_har: bool, recording: &[u8]) -> Option<String> {
    let mut imported = Imported::default();
    match is_har {
        true => har::read("recording", recording, &mut imported).ok()?,
        false => envoy_log::read("recording", recording, Proxy::Envoy, &mut imported).ok()?,
    }
    imported.text("recording").ok()
}

fn open(path: &Path) -> io::Result<Box<dyn BufRead>> {
    Ok(match path.as_os_str() == "-" {
        true => Box::new(Decompressed::new(io::stdin().lock())?.buffered()),
        false => Box::new(Decompressed::new(File::open(path)?)?.buffered()),
    })
}
