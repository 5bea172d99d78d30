//! The HTTP client for proxies and stores.
//!
//! Each request has its own connection, because a draining proxy closes connections after a
//! response. Each has a timeout and a size limit, because the server may be any program.

use std::time::Duration;

use thiserror::Error;
use ureq::http::header::AUTHORIZATION;
use ureq::{Agent, Body, http};

use super::token::Token;

/// The longest body that is read, in bytes. It covers the largest drain record, one MiB.
const MAX_BODY: u64 = 2 << 20;

#[derive(Debug, Clone)]
pub(crate) struct Client {
    agent: Agent,
    timeout: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

/// Why there is no complete response.
#[derive(Debug, Error)]
pub(crate) enum HttpError {
    #[error("no complete response within {0:?}")]
    Timeout(Duration),
    #[error("the response is longer than {MAX_BODY} bytes")]
    TooLong,
    #[error("no response ({0})")]
    Failed(Box<ureq::Error>),
}

impl Client {
    /// `timeout` covers a whole request and response.
    pub(crate) fn new(timeout: Duration) -> Self {
        let config = Agent::config_builder()
            .timeout_global(Some(timeout))
            .http_status_as_error(false)
            // A redirect must not send the token to another server.
            .max_redirects(0)
            .max_redirects_will_error(false)
            // `http_proxy` is meant for remote servers; these are on the proxy's own network.
            .proxy(None)
            .max_idle_connections(0)
            .user_agent(concat!("sluice/", env!("CARGO_PKG_VERSION")))
            .build();
        Self { agent: config.new_agent(), timeout }
    }

    pub(crate) fn get(&self, url: &str, token: Option<&Token>) -> Result<Response, HttpError> {
        let mut request = self.agent.get(url);
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, token.header());
        }
        self.read(request.call())
    }

    pub(crate) fn post(
        &self,
        url: &str,
        token: Option<&Token>,
        body: &str,
    ) -> Result<Response, HttpError> {
        let mut request = self.agent.post(url);
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, token.header());
        }
        self.read(request.send(body))
    }

    fn read(
        &self,
        response: Result<http::Response<Body>, ureq::Error>,
    ) -> Result<Response, HttpError> {
        let read = response.and_then(|mut response| {
            let body = response.body_mut().with_config().limit(MAX_BODY).read_to_vec()?;
            Ok(Response { status: response.status().as_u16(), body })
        });
        read.map_err(|error| match error {
            ureq::Error::Timeout(_) => HttpError::Timeout(self.timeout),
            ureq::Error::BodyExceedsLimit(_) => HttpError::TooLong,
            error => HttpError::Failed(Box::new(error)),
        })
    }
}
