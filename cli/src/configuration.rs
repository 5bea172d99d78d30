//! The configuration files that commands read. The filter reads JSON; the commands also read YAML,
//! which allows comments.

use std::io::Read;
use std::path::Path;
use std::{io, str};

use sluice_filter::Loaded;

use crate::error::CliError;
use crate::files::{self, FileError};
use crate::yaml::{self, Booleans, Tree};

/// The names of YAML files end with one of these.
const YAML: [&str; 2] = ["yaml", "yml"];

/// A file that may be a configuration.
pub(crate) enum ConfigurationFile {
    /// A configuration of the filter.
    Json(Vec<u8>),
    /// A configuration of the filter, converted to JSON.
    Yaml(Vec<u8>),
    /// The documents of another file.
    Other(Vec<Tree>),
}

/// Reads a file, or standard input for `-`.
pub(crate) fn read(file: &Path) -> Result<ConfigurationFile, CliError> {
    let text = bytes(file)?;
    // What looks like JSON is passed on as it is, because the proxy passes it on as it is, and the
    // filter's own parser has the better errors. YAML would accept comments and trailing commas.
    let is_yaml =
        file.extension().is_some_and(|extension| YAML.iter().any(|yaml| extension == *yaml));
    let is_json = text.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
    let parse = |booleans| str::from_utf8(&text).map(|text| yaml::parse(text, booleans));
    let trees = match parse(Booleans::Yaml12) {
        Ok(Ok(trees)) => trees,
        Ok(Err(source)) if !is_json || is_yaml => {
            return Err(CliError::Yaml { file: name(file).into(), source });
        }
        _ => return Ok(ConfigurationFile::Json(text)),
    };
    let schema = sluice_filter::config::schema();
    let fields = schema["properties"].as_object();
    let is_field = |name: &String| fields.is_some_and(|fields| fields.contains_key(name));
    // A file without any field of a configuration belongs to a proxy.
    let is_other = |tree: &Tree| !tree.names().any(is_field);
    Ok(match trees.as_slice() {
        [] => ConfigurationFile::Json(text),
        [tree] if tree.children().is_empty() => ConfigurationFile::Json(text),
        [tree] if !is_other(tree) => match is_json && !is_yaml {
            true => ConfigurationFile::Json(text),
            false => ConfigurationFile::Yaml(tree.to_json().to_string().into_bytes()),
        },
        // Proxies read YAML as version 1.1 defines it.
        _ => match parse(Booleans::Yaml11) {
            Ok(Ok(trees)) => ConfigurationFile::Other(trees),
            Ok(Err(source)) => {
                return Err(CliError::Yaml { file: name(file).into(), source });
            }
            Err(_) => ConfigurationFile::Json(text),
        },
    })
}

/// Reads a configuration of the filter, as JSON text.
pub(crate) fn read_json(file: &Path) -> Result<Vec<u8>, CliError> {
    match read(file)? {
        ConfigurationFile::Json(text) | ConfigurationFile::Yaml(text) => Ok(text),
        ConfigurationFile::Other(_) => Err(CliError::NotAConfiguration { file: name(file).into() }),
    }
}

/// Reads and checks a configuration of the filter.
pub(crate) fn load(file: &Path) -> Result<Loaded, CliError> {
    parse(file, &read_json(file)?)
}

/// Checks a configuration. Errors name the file.
pub(crate) fn parse(file: &Path, text: &[u8]) -> Result<Loaded, CliError> {
    sluice_filter::load(text)
        .map_err(|source| CliError::Configuration { file: name(file).into(), source })
}

/// The name of a file in messages.
pub(crate) fn name(file: &Path) -> String {
    match file.as_os_str() == "-" {
        true => "standard input".to_owned(),
        false => file.display().to_string(),
    }
}

fn bytes(file: &Path) -> Result<Vec<u8>, FileError> {
    if file.as_os_str() != "-" {
        return files::read(file);
    }
    let mut text = Vec::new();
    io::stdin()
        .lock()
        .read_to_end(&mut text)
        .map_err(|source| FileError::Read { path: name(file).into(), source })?;
    Ok(text)
}
