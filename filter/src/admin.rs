//! The path by which an operator, or `sluice drain`, sees and changes the drain of one process.
//!
//! To anybody without the token the path is not special: the request goes on to the upstream, so that nobody can find out that there is such
//! a path.

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::config::AdminSpec;
use crate::drain::{Command, Record, RecordError, Standing};
use crate::reply::LocalReply;
use crate::request::RequestView;
use crate::rules::Rules;
use crate::state::State;

/// The largest body of a command, in bytes.
pub const MAX_BODY: usize = 4096;

/// How long the body of a command is waited for, in milliseconds.
pub const BODY_WAIT_MS: u64 = 5_000;

/// What an authorized request wants.
#[derive(Debug, Clone, PartialEq)]
pub enum Asked {
    /// To see the state.
    State,
    /// What the query of the path says.
    Command(Result<Command, RecordError>),
    /// What the body will say.
    Body,
    /// What a body of this declared length would say.
    TooLarge,
}

/// What `request` wants of the admin path; `None` when it is any other request to us. `ended` says that no body follows.
pub fn asked(config: &Rules, request: &RequestView<'_>, ended: bool) -> Option<Asked> {
    let admin = config.admin()?;
    if request.path != admin.path.as_str().as_bytes() {
        return None;
    }
    match request.method {
        b"GET" | b"POST" if !is_authorized(admin, request) => None,
        b"GET" => Some(Asked::State),
        b"POST" => Some(match query(request) {
            Some(query) => Asked::Command(Command::from_query(query)),
            None if ended => Asked::Command(Command::from_query("")),
            None if request.content_length.is_some_and(|length| length > MAX_BODY as u64) => {
                Asked::TooLarge
            }
            None => Asked::Body,
        }),
        _ => None,
    }
}

fn query<'a>(request: &RequestView<'a>) -> Option<&'a str> {
    let (_, path) = request.headers.iter().find(|(name, _)| name == ":path")?;
    let (_, query) = std::str::from_utf8(path).ok()?.split_once('?')?;
    Some(query).filter(|query| !query.is_empty())
}

/// Whether the request has the token. Takes the same time whatever it has instead.
fn is_authorized(admin: &AdminSpec, request: &RequestView<'_>) -> bool {
    let mut fields = request.headers.iter().filter(|(name, _)| name == "authorization");
    let (Some((_, value)), None) = (fields.next(), fields.next()) else { return false };
    let Some((scheme, token)) = value.split_at_checked(7) else { return false };
    let hash: [u8; 32] = Sha256::digest(token).into();
    scheme.eq_ignore_ascii_case(b"bearer ") && bool::from(hash.ct_eq(admin.token_sha256.bytes()))
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// It is in force, now or already before.
    InForce,
    /// It cannot be, because of the record in force.
    Refused(Standing, u64),
    /// No epoch is left above the one in force.
    NoEpochLeft,
    /// It names a route that the configuration does not have.
    NoSuchRoute(String),
    /// Shared data was busy for too long.
    Busy,
}

/// The state of the drain, and how many responses have `closed` their connection for one.
pub fn state(state: &State<'_>, closed: u64) -> LocalReply {
    reply(200, state.to_full_json(closed))
}

/// The answer to a command.
pub fn answer(ended: &Ended, now: &State<'_>, closed: u64) -> LocalReply {
    match ended {
        Ended::InForce => state(now, closed),
        Ended::Refused(Standing::Taken, epoch) => refused(
            409,
            &format!("epoch {epoch} is in force and means something else; expected a higher one"),
        ),
        Ended::Refused(_, epoch) => {
            let known = now.record.map_or(0, |record: &Record| record.epoch);
            refused(409, &format!("epoch {epoch} is below {known}, which is in force"))
        }
        Ended::NoEpochLeft => refused(409, "no epoch is left above the one in force"),
        Ended::NoSuchRoute(name) => {
            refused(400, &format!("this configuration has no route {name}"))
        }
        Ended::Busy => refused(503, "others write the drain at the same time; try again"),
    }
}

/// The answer to what is no command.
pub fn wrong(error: &RecordError) -> LocalReply {
    refused(400, &error.to_string())
}

/// The answer to a body over [`MAX_BODY`].
pub fn too_large() -> LocalReply {
    refused(413, "the body of a command has at most 4096 bytes")
}

/// The answer when no body came. Envoy delivers none while the head waits for it, unless it is told to.
pub fn no_body() -> LocalReply {
    refused(
        408,
        "the body did not come within 5s; under Envoy the plugin needs allow_on_headers_stop_iteration: true for that, or \
         the fields stand in the query: ?mode=terminate&window=20s",
    )
}

fn refused(status: u16, error: &str) -> LocalReply {
    reply(status, format!("{{\"error\":\"{}\"}}\n", crate::state::json_text(error)))
}

fn reply(status: u16, body: String) -> LocalReply {
    LocalReply::new(status, "application/json", body)
}
