//! `sluice import`: what really happened as a trace, so that tomorrow's configuration meets yesterday's
//! traffic before a proxy does.
//!
//! ```text
//! envoy_log, har   a recording → records, each on its own
//! record           what one exchange was, whoever noted it
//! day              records → the lines of a trace, in their order
//! ```

mod day;
mod envoy_log;
mod error;
mod har;
mod record;

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use self::error::{ImportError, LineError};
use self::har::Har;
use self::record::Record;
use super::check::plural;
use super::{Verdict, files};

/// The longest line of an access log that is read: far more than a proxy takes for a request's headers.
const LONGEST_LINE: u64 = 1 << 20;

/// What `sluice import` takes.
#[derive(Debug, clap::Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    source: Source,
}

#[derive(Debug, clap::Subcommand)]
enum Source {
    /// Reads Envoy's access log, JSON in the format of envoy-examples/access-log
    EnvoyLog(Import),
    /// Reads HAR 1.2, which browsers export from the network panel of their developer tools
    Har(Import),
}

#[derive(Debug, clap::Args)]
struct Import {
    /// The recording; - is standard input
    file: PathBuf,
    /// Leaves out what came of each request, for a configuration that shall change it
    #[arg(long)]
    no_expect: bool,
    /// Writes to a file instead of standard output
    #[arg(short = 'o', long = "output", value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Why a record has no place in a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum LeftOut {
    NoRequest,
    Tunnel,
    Status,
    NotHttp,
    NoAnswer,
    Cached,
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoRequest => "without a request that the proxy could read",
            Self::Tunnel => "of CONNECT, which traces cannot tell",
            Self::Status => "with a status that traces cannot tell",
            Self::NotHttp => "of something else than HTTP",
            Self::NoAnswer => "that were blocked or never answered",
            Self::Cached => "served by the browser itself",
        })
    }
}

/// What a recording had in it.
#[derive(Debug, Default)]
struct Harvest {
    records: Vec<Record>,
    left_out: BTreeMap<LeftOut, usize>,
}

impl Harvest {
    fn add(&mut self, read: Result<Record, LeftOut>) {
        match read {
            Ok(record) => self.records.push(record),
            Err(why) => *self.left_out.entry(why).or_default() += 1,
        }
    }
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments) -> Result<Verdict, String> {
    let (Source::EnvoyLog(import) | Source::Har(import)) = &arguments.source;
    let name = match import.file.as_os_str() == "-" {
        true => "standard input".to_owned(),
        false => import.file.display().to_string(),
    };
    let output = import.output.as_deref();
    files::spare_inputs(output, [&*import.file]).map_err(|error| error.to_string())?;
    let input =
        open(&import.file).map_err(|source| ImportError::Read { name: name.clone(), source });
    let harvest = input.and_then(|input| match &arguments.source {
        Source::EnvoyLog(_) => envoy_log(&name, input),
        Source::Har(_) => har(&name, input),
    });
    let Harvest { mut records, left_out } = harvest.map_err(|error| error.to_string())?;
    let imported = records.len();
    if import.no_expect {
        records.iter_mut().for_each(|record| record.exchange.expect = None);
    }
    let trace = output.map_or_else(|| "trace".to_owned(), |path| path.display().to_string());
    let text = day::trace(&trace, records)
        .map_err(|mistake| ImportError::Beyond { name: name.clone(), mistake }.to_string())?;
    files::write_to(output, |out| out.write_all(text.as_bytes()))
        .map_err(|error| error.to_string())?;
    if !left_out.is_empty() {
        let left_out: Vec<String> =
            left_out.iter().map(|(why, count)| format!("{count} {why}")).collect();
        let plural = plural(imported);
        eprintln!("{name}: {imported} request{plural}; left out: {}", left_out.join(", "));
    }
    Ok(Verdict::Held)
}

fn open(path: &Path) -> io::Result<Box<dyn BufRead>> {
    Ok(match path.as_os_str() == "-" {
        true => Box::new(io::stdin().lock()),
        false => Box::new(BufReader::new(File::open(path)?)),
    })
}

/// The name by which records of this recording are called.
fn short(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

fn envoy_log(name: &str, mut input: impl BufRead) -> Result<Harvest, ImportError> {
    let mut harvest = Harvest::default();
    let mut bytes = Vec::new();
    for line in 1.. {
        bytes.clear();
        let read = (&mut input).take(LONGEST_LINE + 1).read_until(b'\n', &mut bytes);
        let read = read.map_err(|source| ImportError::Read { name: name.to_owned(), source })?;
        if read == 0 {
            break;
        }
        let wrong = |mistake| ImportError::Line { name: name.to_owned(), line, mistake };
        if read as u64 > LONGEST_LINE {
            return Err(wrong(LineError::TooLong { limit: LONGEST_LINE }));
        }
        // Clients put any byte into a header; what is no text is not what a route matches on.
        let text = String::from_utf8_lossy(&bytes);
        let text = text.trim_start_matches('\u{feff}').trim();
        if !text.is_empty() {
            harvest.add(envoy_log::read(format!("{}:{line}", short(name)), text).map_err(wrong)?);
        }
    }
    Ok(harvest)
}

fn har(name: &str, mut input: impl BufRead) -> Result<Harvest, ImportError> {
    skip_mark(&mut input).map_err(|source| ImportError::Read { name: name.to_owned(), source })?;
    let har = Har::read(input).map_err(|mistake| match mistake.io {
        Some(kind) => ImportError::Read { name: name.to_owned(), source: kind.into() },
        None => ImportError::Har {
            name: name.to_owned(),
            line: mistake.line,
            field: mistake.field,
            reason: mistake.reason,
        },
    })?;
    let mut harvest = Harvest::default();
    har.records(short(name)).for_each(|record| harvest.add(record));
    Ok(harvest)
}

/// Some programs begin a text with a byte order mark, which is no JSON.
fn skip_mark(input: &mut impl BufRead) -> io::Result<()> {
    if input.fill_buf()?.starts_with(b"\xef\xbb\xbf") {
        input.consume(3);
    }
    Ok(())
}
