//! One running proxy, asked over HTTP.

use sluice_filter::drain::{Command, Record};
use thiserror::Error;

use super::http::{Answer, Client, HttpError};
use super::state::{State, StateError};
use super::token::Token;
use super::url::Url;

/// A proxy at the URL of its admin path or its health path.
#[derive(Debug, Clone)]
pub(crate) struct Proxy {
    pub(crate) url: Url,
    client: Client,
    token: Option<Token>,
    read: fn(&Answer) -> Result<State, StateError>,
}

/// Why a proxy does not tell its state, or did not do what it was told.
#[derive(Debug, Error)]
pub(crate) enum ProxyError {
    /// There is no answer.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The answer is of no use.
    #[error(transparent)]
    State(#[from] StateError),
}

impl Proxy {
    /// A proxy by its admin path.
    pub(crate) fn admin(client: Client, url: Url, token: Token) -> Self {
        Self { url, client, token: Some(token), read: State::of_admin }
    }

    /// A proxy by its admin path or its health path.
    pub(crate) fn watched(client: Client, url: Url, token: Option<Token>) -> Self {
        Self { url, client, token, read: State::of_any }
    }

    /// What it tells.
    pub(crate) fn state(&self) -> Result<State, ProxyError> {
        let answer = self.client.get(&self.url.to_string(), self.token.as_ref())?;
        Ok((self.read)(&answer)?)
    }

    /// Has it carry out a command: the drain that is in force then, and what it tells.
    pub(crate) fn command(&self, command: &Command) -> Result<(Record, State), ProxyError> {
        // In the query, because a body passes through Envoy only where the plugin is configured for it.
        let url = self.url.with_query(&command.to_query());
        let answer = self.client.post(&url, self.token.as_ref(), "")?;
        let state = (self.read)(&answer)?;
        Ok((state.began(command)?, state))
    }
}
