//! Checks the parts of HTTP messages. A trace with a message that no client can send, or that a
//! proxy rejects before its filters run, would test nothing.

use super::body::Body;
use super::error::FieldError;
use super::event::{AttemptEnd, ClusterResponse, Headers, Request, UpstreamAttempt};

/// Whether `text` is a token (RFC 9110, section 5.6.2), as methods and header names are.
pub fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().fold(true, |valid, byte| valid & TOKEN[usize::from(byte)])
}

/// The bytes of a token.
const TOKEN: [bool; 256] = {
    let mut token = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        token[byte] = matches!(
            byte as u8,
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*'
                | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
        );
        byte += 1;
    }
    token
};

/// Whether `text` can be part of a request line, in which a space ends the target.
pub fn is_target(text: &str) -> bool {
    !text.is_empty() && !text.bytes().any(|b| b == b' ' || b.is_ascii_control())
}

/// Whether a header value must not contain the character (RFC 9110, section 5.5).
pub fn is_control(character: char) -> bool {
    character.is_ascii_control() && character != '\t'
}

pub(super) fn check_request(request: &Request<'_>) -> Result<(), FieldError> {
    check_body("request.body", &request.body)?;
    if let Some(method) = request.method.as_deref().filter(|method| !is_token(method)) {
        let message = format!("{method:?} is not a method; write one such as \"GET\"");
        return Err(FieldError::new("request.method", message));
    }
    for (field, value) in [
        ("request.scheme", &request.scheme),
        ("request.authority", &request.authority),
        ("request.path", &request.path),
    ] {
        match value.as_deref() {
            Some("") => {
                return Err(FieldError::new(field, "is empty; remove the field for its default"));
            }
            Some(value) if !is_target(value) => {
                let message = format!(
                    "{value:?} cannot be sent; expected no spaces and no control characters"
                );
                return Err(FieldError::new(field, message));
            }
            _ => {}
        }
    }
    check_headers("request.headers", &request.headers)?;
    check_length(&request.headers)?;
    check_headers("request.trailers", &request.trailers)?;
    if request.is_upgrade() && !request.trailers.is_empty() {
        let message = "cannot follow an upgrade, which has no end; remove the trailers";
        return Err(FieldError::new("request.trailers", message));
    }
    Ok(())
}

/// A proxy rejects a request whose length is not clear before its filters run (RFC 9112, section
/// 6.3).
fn check_length(headers: &Headers<'_>) -> Result<(), FieldError> {
    let has = |name: &str| headers.iter().any(|(found, _)| found.eq_ignore_ascii_case(name));
    let lengths = headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let lengths: Vec<&str> = lengths.map(|(_, value)| &**value).collect();
    let message = match lengths.as_slice() {
        [_] if has("transfer-encoding") => {
            "cannot have content-length and transfer-encoding; remove one of them".to_owned()
        }
        [] => return Ok(()),
        [one] if one.parse::<u64>().is_ok() => return Ok(()),
        [one] => format!("content-length: {one:?} is not a number; expected the bytes of the body"),
        _ => "have content-length more than once; expected it once".to_owned(),
    };
    Err(FieldError::new("request.headers", message))
}

pub(super) fn check_attempt(attempt: &UpstreamAttempt<'_>) -> Result<(), FieldError> {
    check_headers("upstream.headers", &attempt.headers)?;
    check_headers("upstream.trailers", &attempt.trailers)?;
    // 101 is the only informational status that ends an exchange: it accepts an upgrade.
    if attempt.status != Some(101) {
        check_status("upstream.status", attempt.status)?;
    }
    check_body("upstream.body", &attempt.body)?;
    let sends = attempt.status.is_some() || !attempt.headers.is_empty() || !attempt.body.is_empty();
    match attempt.end {
        AttemptEnd::Refused | AttemptEnd::RefusedStream | AttemptEnd::ResetInHeader if sends => {
            Err(FieldError::new(
                "upstream.end",
                "such an attempt sends no response; remove status, headers and body",
            ))
        }
        AttemptEnd::Reset | AttemptEnd::Never if sends && attempt.status.is_none() => {
            Err(FieldError::new(
                "upstream.status",
                "is missing; expected a status because the attempt sends headers or a body",
            ))
        }
        _ => Ok(()),
    }
}

pub(super) fn check_cluster_response(respond: &ClusterResponse<'_>) -> Result<(), FieldError> {
    check_status("respond.status", respond.status)?;
    check_headers("respond.headers", &respond.headers)?;
    match &respond.trailers {
        Some(trailers) => check_headers("respond.trailers", trailers),
        None => Ok(()),
    }
}

fn check_status(field: &str, status: Option<u16>) -> Result<(), FieldError> {
    match status {
        Some(status) if !(200..=599).contains(&status) => Err(FieldError::new(
            field,
            format!("found {status}; expected a final status from 200 to 599"),
        )),
        _ => Ok(()),
    }
}

fn check_body(field: &str, body: &Body<'_>) -> Result<(), FieldError> {
    match body.iter().any(|chunk| chunk.content.is_empty()) {
        true => Err(FieldError::new(field, "a chunk is empty; expected at least 1 byte")),
        false => Ok(()),
    }
}

fn check_headers(field: &str, headers: &Headers<'_>) -> Result<(), FieldError> {
    for (index, (name, value)) in headers.iter().enumerate() {
        let wrong = |message| Err(FieldError::new(&format!("{field}[{index}]"), message));
        if !is_token(name) {
            return wrong(format!(
                "{:?} is not a header name; expected letters, digits and hyphens",
                &**name
            ));
        }
        // Without an early exit, the compiler compares many bytes at once.
        let control = |found: bool, byte: u8| found | (byte.is_ascii_control() & (byte != b'\t'));
        if value.bytes().fold(false, control) {
            return wrong(format!(
                "{:?} is not a header value; expected no control characters",
                &**value
            ));
        }
    }
    Ok(())
}
