//! Why `sluice drain` stops without a result.

use sluice_filter::drain::RecordError;
use thiserror::Error;

use super::endpoint::Endpoint;
use super::etcd::EtcdError;
use super::proxy::ProxyError;
use super::token::{TokenError, VARIABLE};
use crate::files::FileError;

#[derive(Debug, Error)]
pub(crate) enum DrainError {
    #[error(transparent)]
    Output(#[from] FileError),
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error(
        "no token for {0}; expected a file with --token-file, or {VARIABLE} in the environment"
    )]
    NoToken(Endpoint),
    #[error("expected --url or --etcd")]
    NoTarget,
    /// The filter's rules reject the drain that the arguments describe.
    #[error("{}", field_error(.0))]
    Command(RecordError),
    #[error(
        "--percent: expected only with --mode rebalance, which closes a share of the connections"
    )]
    PercentWithoutRebalance,
    #[error(
        "--wait needs the state of the proxies, which etcd does not have; name each proxy's admin path or health path with --watch"
    )]
    NothingToWatch,
    #[error("{url}: {source}")]
    Proxy { url: Endpoint, source: Box<ProxyError> },
    #[error("{url}: {source}")]
    Etcd { url: Endpoint, source: Box<EtcdError> },
    #[error("{silent} of {all} proxies did not report their state")]
    Unreported { silent: usize, all: usize },
}

/// The mistake without "the drain record", which the operator has not written.
fn field_error(error: &RecordError) -> String {
    match error {
        RecordError::Invalid(error) => error.to_string(),
        error => error.to_string(),
    }
}
