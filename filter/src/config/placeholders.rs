//! The placeholders of an error page, such as `{reason}`.

/// The words that a page can have in braces.
pub const PLACEHOLDERS: [&str; 4] = ["reason", "route", "request_id", "status"];

/// Whether every word in braces is a placeholder. Braces around anything else, as in CSS, are text.
pub(super) fn is_page(text: &str) -> bool {
    let is_word = |text: &str| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    };
    in_braces(text).all(|word| !is_word(word) || PLACEHOLDERS.contains(&word))
}

/// Each text between an opening brace and the next closing brace.
pub(crate) fn in_braces(text: &str) -> impl Iterator<Item = &str> {
    text.split('{').skip(1).filter_map(|part| Some(part.split_once('}')?.0))
}
