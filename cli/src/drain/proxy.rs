//! A running proxy, reached over HTTP.

use sluice_filter::drain::{Command, Record};
use thiserror::Error;

use super::endpoint::Endpoint;
use super::http::{Client, HttpError, Response};
use super::state::{ProxyState, StateError};
use super::token::Token;

#[derive(Debug, Clone)]
pub(crate) struct Proxy {
    pub(crate) url: Endpoint,
    client: Client,
    token: Option<Token>,
    read: fn(&Response) -> Result<ProxyState, StateError>,
}

/// Why a proxy did not report its state.
#[derive(Debug, Error)]
pub(crate) enum ProxyError {
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error(transparent)]
    State(#[from] StateError),
}

impl Proxy {
    /// A proxy with its admin path at `url`.
    pub(crate) fn with_admin_path(client: Client, url: Endpoint, token: Token) -> Self {
        Self { url, client, token: Some(token), read: ProxyState::from_admin }
    }

    /// A proxy with its admin path or its health path at `url`.
    pub(crate) fn with_any_path(client: Client, url: Endpoint, token: Option<Token>) -> Self {
        Self { url, client, token, read: ProxyState::from_admin_or_health }
    }

    pub(crate) fn state(&self) -> Result<ProxyState, ProxyError> {
        let response = self.client.get(&self.url.to_string(), self.token.as_ref())?;
        Ok((self.read)(&response)?)
    }

    /// Sends a command; returns the drain that it started and the new state.
    pub(crate) fn send(&self, command: &Command) -> Result<(Record, ProxyState), ProxyError> {
        // The command is in the query, because Envoy passes a body to the filter only if the plugin
        // sets allow_on_headers_stop_iteration.
        let url = self.url.with_query(&command.to_query());
        let response = self.client.post(&url, self.token.as_ref(), "")?;
        let state = (self.read)(&response)?;
        Ok((state.started(command)?, state))
    }
}
