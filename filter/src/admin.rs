//! The admin path: an operator, or `sluice drain`, reads and changes the drain of one process;
//! requires the bearer token.
//!
//! A request without the token goes to the upstream like any other, so that a client cannot find
//! out that the path exists.

use serde::Serialize;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::config::AdminSpec;
use crate::drain::{Command, CommandOutcome, RecordError};
use crate::reply::LocalReply;
use crate::request::RequestView;
use crate::rules::Rules;
use crate::state::{State, json_line};

/// The largest body of a command, in bytes.
pub const MAX_BODY: usize = 4096;

/// How long the filter waits for the body of a command, in milliseconds.
pub const BODY_TIMEOUT_MS: u64 = 5_000;

/// An authorized request to the admin path.
#[derive(Debug, Clone, PartialEq)]
pub enum AdminRequest {
    /// Reads the state.
    ReadState,
    /// Has its command in the query.
    Command(Result<Command, RecordError>),
    /// Has its command in the body.
    AwaitBody,
    /// Declares a body over [`MAX_BODY`].
    TooLarge,
}

/// Parses a request to the admin path; `None` for every other request. `end_of_stream`: the request
/// has no body.
pub fn parse(
    rules: &Rules,
    request: &RequestView<'_>,
    end_of_stream: bool,
) -> Option<AdminRequest> {
    let admin = rules.admin()?;
    if request.path != admin.path.as_str().as_bytes() {
        return None;
    }
    match request.method {
        b"GET" | b"POST" if !is_authorized(admin, request) => None,
        b"GET" => Some(AdminRequest::ReadState),
        b"POST" => Some(match query(request) {
            Some(query) => AdminRequest::Command(Command::from_query(query)),
            None if end_of_stream => AdminRequest::Command(Command::from_query("")),
            None if request.content_length.is_some_and(|length| length > MAX_BODY as u64) => {
                AdminRequest::TooLarge
            }
            None => AdminRequest::AwaitBody,
        }),
        _ => None,
    }
}

fn query<'a>(request: &RequestView<'a>) -> Option<&'a str> {
    let path = request.values(":path").next()?;
    let (_, query) = std::str::from_utf8(path).ok()?.split_once('?')?;
    Some(query).filter(|query| !query.is_empty())
}

/// Compares the token in constant time.
fn is_authorized(admin: &AdminSpec, request: &RequestView<'_>) -> bool {
    let mut values = request.values("authorization");
    let (Some(value), None) = (values.next(), values.next()) else { return false };
    let Some((scheme, token)) = value.split_at_checked(7) else { return false };
    let hash: [u8; 32] = Sha256::digest(token).into();
    scheme.eq_ignore_ascii_case(b"bearer ") && bool::from(hash.ct_eq(admin.token_sha256.bytes()))
}

/// The reply with the state, and with the number of responses that `closed` their connection.
pub fn state_reply(state: &State<'_>, closed: u64) -> LocalReply {
    json_reply(200, state.to_full_json(closed))
}

/// The reply to a command.
pub fn command_reply(outcome: &CommandOutcome, state: &State<'_>, closed: u64) -> LocalReply {
    match outcome {
        CommandOutcome::InForce => state_reply(state, closed),
        CommandOutcome::Conflicting(epoch) => error_reply(
            409,
            &format!("epoch {epoch} is in force with other settings; expected a higher epoch"),
        ),
        CommandOutcome::Lower(epoch) => {
            let in_force = state.record.map_or(0, |record| record.epoch);
            let error = format!(
                "epoch {epoch} is lower than epoch {in_force}, which is in force; expected a higher epoch"
            );
            error_reply(409, &error)
        }
        CommandOutcome::TooHigh(error) => error_reply(400, &error.to_string()),
        CommandOutcome::UnknownRoute(name) => {
            error_reply(400, &format!("this configuration has no route {name}"))
        }
        CommandOutcome::Busy => {
            error_reply(503, "other writers changed the drain at every attempt; retry")
        }
    }
}

/// The reply to an invalid command.
pub fn invalid_reply(error: &RecordError) -> LocalReply {
    error_reply(400, &error.to_string())
}

/// The reply to a body over [`MAX_BODY`].
pub fn too_large_reply() -> LocalReply {
    error_reply(413, "the body is too large; expected a command of at most 4096 bytes")
}

/// The reply when no body arrived. While a filter pauses at the headers, Envoy delivers the body
/// only if the plugin configuration allows that.
pub fn no_body_reply() -> LocalReply {
    error_reply(
        408,
        "no body arrived within 5s; in Envoy, set allow_on_headers_stop_iteration: true in the plugin, or put \
         the fields into the query: ?mode=terminate&window=20s",
    )
}

#[derive(Serialize)]
struct ErrorJson<'a> {
    error: &'a str,
}

fn error_reply(status: u16, error: &str) -> LocalReply {
    json_reply(status, json_line(&ErrorJson { error }))
}

fn json_reply(status: u16, body: String) -> LocalReply {
    LocalReply::new(status, "application/json", body)
}
