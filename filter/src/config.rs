//! The configuration: the JSON document that a proxy hands to the filter, checked completely before any of it takes effect.
//!
//! A configuration is either accepted as a whole or refused with one sentence that names the place, what was
//! found there and what was expected; so a mistake never half-applies, and the one in force stays in force.

use crate::request::RequestView;

/// A configuration that was accepted, ready to decide.
#[derive(Debug)]
pub struct Config {}

/// What [`Config::parse`] returns for a configuration that it accepts.
#[derive(Debug)]
pub struct Parsed {
    /// The compiled configuration.
    pub config: Config,
    /// What is legal but hardly meant.
    pub warnings: Vec<Warning>,
}

/// Why a configuration was refused; `Display` is one sentence, `place: found and expected`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: refused")]
pub struct ConfigError {
    /// Where, as `routes[2].timeouts.request`.
    pub place: String,
}

/// Something legal that is hardly meant; `Display` is one sentence, `place: …`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}")]
pub struct Warning {
    /// Where, as `routes[2]`.
    pub place: String,
}

impl Config {
    /// Reads and checks a whole configuration document.
    ///
    /// # Errors
    /// The first mistake, with its place.
    pub fn parse(document: &[u8]) -> Result<Parsed, ConfigError> {
        let _ = document;
        Ok(Parsed { config: Config {}, warnings: Vec::new() })
    }

    /// The position of the first route whose every condition `request` meets; `None` when the defaults apply.
    pub fn route(&self, request: &RequestView<'_>) -> Option<usize> {
        let _ = request;
        None
    }

    /// The name of the route at `index`.
    pub fn route_label(&self, index: usize) -> Option<&str> {
        let _ = index;
        None
    }
}

/// The JSON Schema of the configuration, generated from the types that read it.
#[cfg(feature = "schema")]
pub fn schema() -> serde_json::Value {
    serde_json::Value::Null
}
