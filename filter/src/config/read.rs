//! Reads typed values from a JSON tree. Each type reads itself at a place, and every error carries
//! that place.
//!
//! [`record`] declares a type, its fields and how it is read, so that the three agree. The JSON
//! Schema is generated from the same type.
//!
//! serde's derive is not used here: its errors are strings, and a caller could not distinguish the
//! problems or read the fix.

use std::fmt;

use super::error::{ConfigError, Problem, quoted};
use super::json::Node;

/// The place of a value in the document.
#[derive(Clone, Copy)]
pub(crate) enum Place<'a> {
    Root,
    Field(&'a Place<'a>, &'a str),
    Item(&'a Place<'a>, usize),
}

impl Place<'_> {
    pub(crate) fn error(&self, problem: Problem) -> ConfigError {
        ConfigError { place: self.to_string(), route: None, problem: Box::new(problem) }
    }

    pub(crate) fn refuse<T>(&self, problem: Problem) -> Result<T, ConfigError> {
        Err(self.error(problem))
    }

    pub(crate) fn unexpected<T>(
        &self,
        found: impl fmt::Display,
        expected: &'static str,
    ) -> Result<T, ConfigError> {
        self.refuse(Problem::Unexpected { found: found.to_string(), expected, fix: None })
    }

    /// As [`unexpected`](Self::unexpected), with the JSON text that was probably meant.
    pub(crate) fn unexpected_but<T>(
        &self,
        found: impl fmt::Display,
        expected: &'static str,
        fix: String,
    ) -> Result<T, ConfigError> {
        self.refuse(Problem::Unexpected { found: found.to_string(), expected, fix: Some(fix) })
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => f.write_str("configuration"),
            Self::Field(Place::Root, name) => f.write_str(name),
            Self::Field(parent, name) => write!(f, "{parent}.{name}"),
            Self::Item(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

/// A type that reads itself from a JSON value.
pub(crate) trait Read: Sized {
    /// The valid values, for errors.
    const EXPECTED: &'static str;

    fn read(node: &Node, at: &Place<'_>) -> Result<Self, ConfigError>;
}

impl Read for bool {
    const EXPECTED: &'static str = "true or false";

    fn read(node: &Node, at: &Place<'_>) -> Result<Self, ConfigError> {
        match node {
            Node::Bool(value) => Ok(*value),
            other => at.unexpected(other, Self::EXPECTED),
        }
    }
}

/// A list that is not empty. A field with such a list can be absent.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(transparent)]
pub struct OneOrMore<T>(Vec<T>);

impl<T> std::ops::Deref for OneOrMore<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T: Read> Read for OneOrMore<T> {
    const EXPECTED: &'static str = "an array with at least one item";

    fn read(node: &Node, at: &Place<'_>) -> Result<Self, ConfigError> {
        match node {
            Node::Array(items) if items.is_empty() => {
                at.unexpected("an empty array", Self::EXPECTED)
            }
            Node::Array(_) => Vec::read(node, at).map(Self),
            Node::Text(_) => at.unexpected_but(node, Self::EXPECTED, format!("[{node}]")),
            other => at.unexpected(other, Self::EXPECTED),
        }
    }
}

impl<T: Read> Read for Vec<T> {
    const EXPECTED: &'static str = "an array";

    fn read(node: &Node, at: &Place<'_>) -> Result<Self, ConfigError> {
        let Node::Array(items) = node else { return at.unexpected(node, Self::EXPECTED) };
        items
            .iter()
            .enumerate()
            .map(|(index, item)| T::read(item, &Place::Item(at, index)))
            .collect()
    }
}

pub(crate) fn text<'n>(
    node: &'n Node,
    at: &Place<'_>,
    expected: &'static str,
) -> Result<&'n str, ConfigError> {
    match node {
        Node::Text(text) => Ok(text),
        other => at.unexpected(other, expected),
    }
}

/// A text that `is_legal` accepts.
pub(crate) fn legal_text(
    node: &Node,
    at: &Place<'_>,
    expected: &'static str,
    is_legal: fn(&str) -> bool,
) -> Result<Box<str>, ConfigError> {
    let written = text(node, at, expected)?;
    if is_legal(written) { Ok(written.into()) } else { at.unexpected(quoted(written), expected) }
}

/// A whole number from `min` to `max`.
pub(crate) fn number(
    node: &Node,
    at: &Place<'_>,
    (min, max): (u64, u64),
    expected: &'static str,
) -> Result<u64, ConfigError> {
    match node {
        Node::Unsigned(value) if (min..=max).contains(value) => Ok(*value),
        other => at.unexpected(other, expected),
    }
}

/// The position of the value in `known`.
pub(crate) fn word(
    node: &Node,
    at: &Place<'_>,
    known: &'static [&'static str],
) -> Result<usize, ConfigError> {
    let written = if let Node::Text(text) = node { text.as_str() } else { "" };
    match known.iter().position(|word| *word == written) {
        Some(position) => Ok(position),
        None => at.refuse(Problem::UnknownWord { found: node.to_string(), known }),
    }
}

/// The number of fields that are checked for repetition in an object that another program defines.
/// The check takes quadratic time.
const CHECKED_FIELDS: usize = 64;

/// The fields of an object, each at most once.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'n, 'p> {
    entries: &'n [(String, Node)],
    at: &'p Place<'p>,
}

impl<'n, 'p> Fields<'n, 'p> {
    /// Refuses every field that is not `known`. `misplaced` has better errors for some of them.
    pub(crate) fn of(
        node: &'n Node,
        at: &'p Place<'p>,
        known: &'static [&'static str],
        misplaced: &[(&str, &'static str)],
    ) -> Result<Self, ConfigError> {
        let Node::Object(entries) = node else { return at.unexpected(node, "an object") };
        for (index, (key, _)) in entries.iter().enumerate() {
            let place = Place::Field(at, key);
            if let Some((_, reason)) = misplaced.iter().find(|(name, _)| name == key) {
                return place.refuse(Problem::Misplaced { reason });
            }
            if !known.contains(&key.as_str()) {
                let key = quoted(key);
                let shown = key.trim_matches('"');
                return Place::Field(at, shown).refuse(Problem::UnknownField { known });
            }
            if entries[..index].iter().any(|(earlier, _)| earlier == key) {
                return place.refuse(Problem::RepeatedField);
            }
        }
        Ok(Self { entries, at })
    }

    /// Accepts unknown fields, because another program defines the object.
    pub(crate) fn tolerant(node: &'n Node, at: &'p Place<'p>) -> Result<Self, ConfigError> {
        let Node::Object(entries) = node else { return at.unexpected(node, "an object") };
        for (index, (key, _)) in entries.iter().enumerate().take(CHECKED_FIELDS) {
            if entries[..index].iter().any(|(earlier, _)| earlier == key) {
                return Place::Field(at, key).refuse(Problem::RepeatedField);
            }
        }
        Ok(Self { entries, at })
    }

    /// Not inlined, so that the module contains the search once and not once for each type.
    #[inline(never)]
    pub(crate) fn node(&self, name: &str) -> Option<&'n Node> {
        self.entries.iter().find(|(key, _)| key == name).map(|(_, node)| node)
    }

    pub(crate) fn optional<T: Read>(&self, name: &str) -> Result<Option<T>, ConfigError> {
        match self.node(name) {
            Some(node) => T::read(node, &Place::Field(self.at, name)).map(Some),
            None => Ok(None),
        }
    }

    pub(crate) fn required<T: Read>(&self, name: &str) -> Result<T, ConfigError> {
        match self.node(name) {
            Some(node) => T::read(node, &Place::Field(self.at, name)),
            None => Place::Field(self.at, name).refuse(Problem::Missing { expected: T::EXPECTED }),
        }
    }

    /// The number of `names` in the object.
    pub(crate) fn count(&self, names: &[&str]) -> usize {
        self.entries.iter().filter(|(key, _)| names.contains(&key.as_str())).count()
    }
}

/// The name of a field in JSON: `r#match` is `match`.
pub(crate) const fn field_name(identifier: &'static str) -> &'static str {
    match identifier.as_bytes() {
        [b'r', b'#', ..] => identifier.split_at(2).1,
        _ => identifier,
    }
}

/// Declares a JSON object: its type, its fields, and how it is read. `misplaced` names fields with
/// a better error than "unknown field". With `word FIELD`, a string is short for an object with
/// that field. `check METHOD` names a method that checks the fields against each other.
macro_rules! record {
    (
        $(#[$meta:meta])*
        pub struct $name:ident {
            required { $( $(#[$required_meta:meta])* $required:ident : $required_type:ty, )* }
            optional { $( $(#[$optional_meta:meta])* $optional:ident : $optional_type:ty, )* }
            $( misplaced { $( $misplaced:ident : $reason:literal, )* } )?
        }
        $( word $word:ident )?
        $( check $check:ident )?
    ) => {
        #[derive(Debug, Clone, PartialEq, serde::Serialize)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
        $(#[$meta])*
        pub struct $name {
            $( $(#[$required_meta])* pub $required: $required_type, )*
            $(
                $(#[$optional_meta])*
                #[serde(skip_serializing_if = "Option::is_none")]
                pub $optional: Option<$optional_type>,
            )*
        }

        impl $name {
            #[allow(clippy::unnecessary_wraps, unused_variables, reason = "few records have a check")]
            fn checked(
                self,
                at: &$crate::config::read::Place<'_>,
            ) -> Result<Self, $crate::config::ConfigError> {
                $( self.$check(at)?; )?
                Ok(self)
            }
        }

        impl $crate::config::read::Read for $name {
            const EXPECTED: &'static str = "an object";

            fn read(
                node: &$crate::config::json::Node,
                at: &$crate::config::read::Place<'_>,
            ) -> Result<Self, $crate::config::ConfigError> {
                use $crate::config::read::field_name;
                const KNOWN: &[&str] = &[
                    $( field_name(stringify!($required)), )*
                    $( field_name(stringify!($optional)), )*
                ];
                $(
                    if let $crate::config::json::Node::Text(_) = node {
                        let $word = Some($crate::config::read::Read::read(node, at)?);
                        return Self { $word, ..Self::default() }.checked(at);
                    }
                    if !matches!(node, $crate::config::json::Node::Object(_)) {
                        const EITHER: &str =
                            concat!("an object, or the value of its field ", stringify!($word));
                        return at.unexpected(node, EITHER);
                    }
                )?
                let fields = $crate::config::read::Fields::of(
                    node,
                    at,
                    KNOWN,
                    &[ $( $( (stringify!($misplaced), $reason), )* )? ],
                )?;
                let read = Self {
                    $( $required: fields.required(field_name(stringify!($required)))?, )*
                    $( $optional: fields.optional(field_name(stringify!($optional)))?, )*
                };
                read.checked(at)
            }
        }
    };
}

/// Declares a closed set of strings: the type, and how it is read.
macro_rules! words {
    (
        $(#[$meta:meta])*
        pub enum $name:ident { $( $(#[$variant_meta:meta])* $variant:ident = $word:literal, )* }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        pub enum $name {
            $( $(#[$variant_meta])* #[serde(rename = $word)] $variant, )*
        }

        impl $name {
            /// All strings of the set.
            pub const WORDS: &'static [&'static str] = &[ $( $word, )* ];

            /// The string in the configuration.
            pub const fn word(self) -> &'static str {
                match self { $( Self::$variant => $word, )* }
            }
        }

        impl $crate::config::read::Read for $name {
            const EXPECTED: &'static str = concat!("one of" $( , " ", $word )* );

            fn read(
                node: &$crate::config::json::Node,
                at: &$crate::config::read::Place<'_>,
            ) -> Result<Self, $crate::config::ConfigError> {
                const ALL: &[$name] = &[ $( $name::$variant, )* ];
                $crate::config::read::word(node, at, Self::WORDS).map(|position| ALL[position])
            }
        }
    };
}

pub(crate) use {record, words};
