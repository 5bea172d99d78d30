//! `sluice explain`: which route a request takes, which conditions failed before it, and every effect.

use std::io::{self, IsTerminal};
use std::path::PathBuf;

use sluice_filter::explain::explain;
use sluice_filter::load;
use sluice_filter::request::RequestView;

use super::style::Style;
use super::{Verdict, check, files};

/// What `sluice explain` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The plugin configuration, a JSON file
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The request's method
    #[arg(short = 'X', long, default_value = "GET")]
    method: String,
    /// A request header, `name: value`; may be repeated
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// The route that the proxy's own configuration chose (property xds.route_name)
    #[arg(long, value_name = "NAME")]
    route_name: Option<String>,
    /// The policy that the route's metadata names
    #[arg(long, value_name = "NAME")]
    policy: Option<String>,
    /// The request's URL, such as http://a.example.com/api/x, or a path
    url: String,
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments) -> Result<Verdict, String> {
    let text = files::read(&arguments.config).map_err(|error| error.to_string())?;
    let loaded = load(&text).map_err(|error| format!("{}: {error}", arguments.config.display()))?;
    let headers = headers(arguments)?;
    let mut request = RequestView::new(&headers);
    request.route_name = arguments.route_name.as_deref().map(str::as_bytes);
    request.policy = arguments.policy.as_deref().map(str::as_bytes);
    let explanation = explain(&loaded.rules, &request);

    let style = Style::new(io::stdout().is_terminal());
    files::print(|out| {
        for tried in &explanation.tried {
            writeln!(out, "{} {}", style.bad("✗"), tried.name)?;
            for failed in &tried.failed {
                let (condition, expected) = (&failed.condition, &failed.expected);
                writeln!(out, "    {condition}: expected {expected}, found {}", failed.found)?;
            }
        }
        match &explanation.route {
            Some(route) => writeln!(out, "{} {}", style.good("✓"), style.strong(route))?,
            None => writeln!(out, "{} no route matches: defaults", style.good("✓"))?,
        }
        check::effects(out, &explanation.effects)
    })?;
    Ok(Verdict::Held)
}

/// The request as a host hands it to the filter.
fn headers(arguments: &Arguments) -> Result<Vec<(String, Vec<u8>)>, String> {
    let (scheme, rest) = match arguments.url.split_once("://") {
        Some((scheme, rest)) => (scheme, rest),
        None if arguments.url.starts_with('/') => ("http", arguments.url.as_str()),
        None => {
            return Err(format!(
                "{:?} is no URL; expected one such as http://a.example.com/api/x, or a path that begins with /",
                arguments.url
            ));
        }
    };
    let path_start = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(path_start);
    let path = path.split('#').next().unwrap_or_default();
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let authority = if authority.is_empty() { "localhost" } else { authority };
    let mut headers = vec![
        (":authority".to_owned(), authority.as_bytes().to_vec()),
        (":path".to_owned(), path.into_bytes()),
        (":method".to_owned(), arguments.method.clone().into_bytes()),
        (":scheme".to_owned(), scheme.as_bytes().to_vec()),
    ];
    for header in &arguments.headers {
        let (name, value) = header.split_once(':').ok_or_else(|| {
            format!(
                "-H {header:?} has no colon; expected a header such as 'accept: application/json'"
            )
        })?;
        let name = name.trim().to_ascii_lowercase();
        let value = value.trim().as_bytes().to_vec();
        match name.as_str() {
            "" => return Err(format!("-H {header:?} has no name; expected 'name: value'")),
            "host" => headers[0].1 = value,
            _ => headers.push((name, value)),
        }
    }
    Ok(headers)
}
