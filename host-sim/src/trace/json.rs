//! Parses one JSON value of a trace, and describes its mistakes to people who write traces.
//!
//! The first parse is fast but does not record which field it is in. Only if it fails, a second,
//! slower parse of the same text finds the path of the mistake.

use serde::Deserialize;
use serde_json::error::Category;

use super::error::{FieldError, LINE};

pub(crate) fn parse<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, FieldError> {
    serde_json::from_str(text).map_err(|_| {
        let mut json = serde_json::Deserializer::from_str(text);
        match serde_path_to_error::deserialize::<_, T>(&mut json) {
            Ok(_) => {
                FieldError::new(LINE, "has text after the event; write each event on its own line")
            }
            Err(error) => {
                let path = error.path().to_string();
                describe(&path, &error.into_inner())
            }
        }
    })
}

fn describe(path: &str, error: &serde_json::Error) -> FieldError {
    // The position is dropped: the path is better, and the position is wrong for a value that was
    // cut out of its line.
    let text = error.to_string();
    let text = text.rfind(" at line ").map_or(text.as_str(), |end| &text[..end]);
    if error.classify() != Category::Data {
        return FieldError::new(LINE, format!("is not valid JSON: {text}"));
    }
    let path = if path == "." { "" } else { path };
    if let Some(field) =
        text.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`'))
    {
        let field = match path {
            "" => field.to_owned(),
            path => format!("{path}.{field}"),
        };
        return FieldError::new(&field, "is missing");
    }
    FieldError::new(if path.is_empty() { LINE } else { path }, plain(text))
}

/// Replaces serde's names for types with those of JSON.
fn plain(text: &str) -> String {
    let mismatch = ["invalid type: ", "invalid value: ", "invalid length "]
        .into_iter()
        .find_map(|prefix| Some((prefix, text.strip_prefix(prefix)?)));
    let Some((prefix, (found, expected))) =
        mismatch.and_then(|(prefix, rest)| Some((prefix, rest.rsplit_once(", expected ")?)))
    else {
        // An unknown field or value, with the known ones.
        let text = text.replacen("unknown variant", "unknown value", 1);
        return text.replacen("`, expected ", "`; expected ", 1);
    };
    let found = match (prefix, found) {
        ("invalid length ", length) => format!("a list of {length}"),
        (_, "map") => "an object".to_owned(),
        (_, "sequence") => "a list".to_owned(),
        (_, scalar) => {
            let value = ["integer `", "floating point `", "boolean `"]
                .into_iter()
                .find_map(|kind| scalar.strip_prefix(kind)?.strip_suffix('`'));
            value.or_else(|| scalar.strip_prefix("string ")).unwrap_or(scalar).to_owned()
        }
    };
    let expected = match expected {
        "u16" => "an integer from 0 to 65535",
        "u32" => "an integer from 0 to 4294967295",
        "u64" => "an integer that is not negative",
        "a boolean" => "true or false",
        "a map" => "an object",
        "a sequence" => "a list",
        "a tuple of size 2" => "a list with a name and a value",
        other => other,
    };
    format!("found {found}; expected {expected}")
}
