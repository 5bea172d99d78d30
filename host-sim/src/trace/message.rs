//! What an HTTP message can carry. A trace that says more would test what no proxy ever sees: a client
//! cannot send it, or the proxy refuses it before any filter.

use super::check::FieldError;
use super::event::{Headers, Request};

/// Whether `text` is a token (RFC 9110, section 5.6.2), as methods and names of headers are.
pub fn is_token(text: &str) -> bool {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !text.is_empty() && text.bytes().all(token)
}

/// Whether `text` can stand in a request's first line: there a space ends it.
pub fn is_target(text: &str) -> bool {
    !text.is_empty() && !text.bytes().any(|b| b == b' ' || b.is_ascii_control())
}

/// Whether no header value can have this character (RFC 9110, section 5.5).
pub fn is_control(character: char) -> bool {
    character.is_ascii_control() && character != '\t'
}

/// The head and the trailers of a request.
pub(super) fn check_request(request: &Request<'_>) -> Result<(), FieldError> {
    if let Some(method) = request.method.as_deref().filter(|method| !is_token(method)) {
        let message = format!("{method:?} is no method; expected one such as \"GET\"");
        return Err(FieldError::new("request.method", message));
    }
    for (field, value) in [
        ("request.scheme", &request.scheme),
        ("request.authority", &request.authority),
        ("request.path", &request.path),
    ] {
        match value.as_deref() {
            Some("") => {
                return Err(FieldError::new(field, "is empty; leave it out for the default"));
            }
            Some(value) if !is_target(value) => {
                return Err(FieldError::new(
                    field,
                    format!(
                        "{value:?} cannot be sent; expected neither spaces nor control characters"
                    ),
                ));
            }
            _ => {}
        }
    }
    check_fields("request.headers", &request.headers)?;
    check_fields("request.trailers", &request.trailers)?;
    if request.asks_for_upgrade() && !request.trailers.is_empty() {
        let message = "stand behind an upgrade, which has no end; expected none";
        return Err(FieldError::new("request.trailers", message));
    }
    Ok(())
}

pub(super) fn check_status(field: &str, status: Option<u16>) -> Result<(), FieldError> {
    match status {
        Some(status) if !(200..=599).contains(&status) => Err(FieldError::new(
            field,
            format!("found {status}; expected a final status from 200 to 599"),
        )),
        _ => Ok(()),
    }
}

/// The names and values of headers or trailers.
pub(super) fn check_fields(field: &str, headers: &Headers<'_>) -> Result<(), FieldError> {
    for (index, (name, value)) in headers.iter().enumerate() {
        let wrong = |message| Err(FieldError::new(&format!("{field}[{index}]"), message));
        if !is_token(name) {
            return wrong(format!(
                "{:?} is no header name; expected letters, digits and hyphens",
                &**name
            ));
        }
        if value.bytes().any(|b| is_control(b.into())) {
            return wrong(format!(
                "{:?} is no header value; expected one without control characters",
                &**value
            ));
        }
    }
    Ok(())
}
