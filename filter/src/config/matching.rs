//! The conditions of a route, as written.

use serde::Serialize;

use super::error::{ConfigError, Problem, quoted};
use super::json::Node;
use super::read::{Fields, OneOrMore, Place, Read, record};
use super::scalar::{ForeignName, HeaderName, HeaderText, HostPattern, Method, PathText, Pattern};

record! {
    /// The conditions of a route. A request must meet all of them.
    #[derive(Default)]
    pub struct MatchSpec {
        required {}
        optional {
            /// Patterns for the request's host, without its port. One must match.
            hosts: OneOrMore<HostPattern>,
            /// The request's path, without its query.
            path: PathCondition,
            /// Request methods. One must match.
            methods: OneOrMore<Method>,
            /// Conditions on request headers. All must match.
            headers: OneOrMore<HeaderCondition>,
            /// The name of the route that the control plane chose.
            route_name: ForeignName,
            /// The value of policy under sluice in the metadata of the proxy's route.
            policy: ForeignName,
        }
    }
}

/// A condition on the path.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum PathCondition {
    /// The path is this text.
    Exact(PathText),
    /// The path starts with this text.
    Prefix(PathText),
    /// The pattern matches the whole path.
    Regex(Pattern),
}

impl Read for PathCondition {
    const EXPECTED: &'static str = "an object with exact, prefix or regex";

    fn read(node: &Node, at: &Place<'_>) -> Result<Self, ConfigError> {
        const KNOWN: &[&str] = &["exact", "prefix", "regex"];
        if let Node::Text(path) = node {
            let fix = format!("{{\"prefix\": {}}}", quoted(path));
            return at.unexpected_but(node, Self::EXPECTED, fix);
        }
        let fields = Fields::of(node, at, KNOWN, &[])?;
        exactly_one(&fields, at, KNOWN)?;
        if let Some(path) = fields.optional("exact")? {
            return Ok(Self::Exact(path));
        }
        if let Some(path) = fields.optional("prefix")? {
            return Ok(Self::Prefix(path));
        }
        fields.required("regex").map(Self::Regex)
    }
}

/// A condition on a request header. If the header occurs several times, one value must match.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct HeaderCondition {
    /// The header's name.
    pub name: HeaderName,
    /// The condition on its value.
    #[serde(flatten)]
    pub value: ValueCondition,
}

/// A condition on the value of a header.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum ValueCondition {
    /// The value is this text.
    Exact(HeaderText),
    /// The value starts with this text.
    Prefix(HeaderText),
    /// The value contains this text.
    Contains(HeaderText),
    /// The pattern matches the whole value.
    Regex(Pattern),
    /// `true`: the header is present, with any value. `false`: it is absent.
    Present(bool),
}

impl Read for HeaderCondition {
    const EXPECTED: &'static str = "an object with name and a condition";

    fn read(node: &Node, at: &Place<'_>) -> Result<Self, ConfigError> {
        const CONDITIONS: &[&str] = &["exact", "prefix", "contains", "regex", "present"];
        const KNOWN: &[&str] = &["name", "exact", "prefix", "contains", "regex", "present"];
        let fields = Fields::of(node, at, KNOWN, &[])?;
        let name = fields.required("name")?;
        exactly_one(&fields, at, CONDITIONS)?;
        let value = if let Some(text) = fields.optional("exact")? {
            ValueCondition::Exact(text)
        } else if let Some(text) = fields.optional("prefix")? {
            ValueCondition::Prefix(text)
        } else if let Some(text) = fields.optional("contains")? {
            ValueCondition::Contains(text)
        } else if let Some(pattern) = fields.optional("regex")? {
            ValueCondition::Regex(pattern)
        } else {
            ValueCondition::Present(fields.required("present")?)
        };
        Ok(Self { name, value })
    }
}

fn exactly_one(
    fields: &Fields<'_, '_>,
    at: &Place<'_>,
    known: &'static [&'static str],
) -> Result<(), ConfigError> {
    match fields.count(known) {
        1 => Ok(()),
        found => at.refuse(Problem::NotExactlyOne { found, known }),
    }
}
