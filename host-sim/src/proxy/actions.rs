//! What a proxy does with requests that it does not trust: escaped slashes in paths, and underscores
//! in header names.

use serde::de::{Deserialize, Deserializer, Error};

use super::names::by_name;
use crate::trace::Text;

/// Envoy's `path_with_escaped_slashes_action`: what happens to a path with `%2F` or `%5C`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum EscapedSlashes {
    #[default]
    KeepUnchanged,
    /// The reply is 400.
    RejectRequest,
    /// The reply is 307, with the unescaped path.
    UnescapeAndRedirect,
    UnescapeAndForward,
}

impl EscapedSlashes {
    const ALL: [Self; 4] = [
        Self::KeepUnchanged,
        Self::RejectRequest,
        Self::UnescapeAndRedirect,
        Self::UnescapeAndForward,
    ];

    /// The name in Envoy's API.
    pub fn name(self) -> &'static str {
        match self {
            Self::KeepUnchanged => "KEEP_UNCHANGED",
            Self::RejectRequest => "REJECT_REQUEST",
            Self::UnescapeAndRedirect => "UNESCAPE_AND_REDIRECT",
            Self::UnescapeAndForward => "UNESCAPE_AND_FORWARD",
        }
    }
}

/// Envoy's `headers_with_underscores_action`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Underscores {
    #[default]
    Allow,
    /// The reply is 400 over HTTP/1; a stream of HTTP/2 is reset.
    RejectRequest,
    DropHeader,
}

impl Underscores {
    const ALL: [Self; 3] = [Self::Allow, Self::RejectRequest, Self::DropHeader];

    /// The name in Envoy's API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Allow => "ALLOW",
            Self::RejectRequest => "REJECT_REQUEST",
            Self::DropHeader => "DROP_HEADER",
        }
    }
}

impl<'de> Deserialize<'de> for EscapedSlashes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = Text::deserialize(deserializer)?;
        by_name(&name, ("action", "actions"), &Self::ALL, Self::name).map_err(D::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Underscores {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = Text::deserialize(deserializer)?;
        by_name(&name, ("action", "actions"), &Self::ALL, Self::name).map_err(D::Error::custom)
    }
}
