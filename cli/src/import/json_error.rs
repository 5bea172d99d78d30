//! serde_json's errors without their position, because import errors write the position themselves.

/// The reason of an error, without " at line 1 column 2".
pub(super) fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rfind(" at line ").map_or(text.as_str(), |end| &text[..end]).to_owned()
}
