//! Asking a proxy or a store: one request on a connection of its own, because a proxy that drains closes every connection
//! after the next response. Every request has an end, whatever the other side does.

use std::time::Duration;

use thiserror::Error;
use ureq::Agent;
use ureq::http::header::AUTHORIZATION;

use super::token::Token;

/// The longest answer that is read, in bytes: a drain record may have a megabyte.
const LONGEST: u64 = 2 << 20;

/// A way to ask.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    agent: Agent,
    patience: Duration,
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The status.
    pub(crate) status: u16,
    /// The whole body.
    pub(crate) body: Vec<u8>,
}

/// Why no whole answer came back.
#[derive(Debug, Error)]
pub(crate) enum HttpError {
    /// It took too long.
    #[error("no whole answer within {0:?}")]
    TooLate(Duration),
    /// It is too long.
    #[error("the answer has over {LONGEST} bytes")]
    TooLong,
    /// The connection or the protocol failed.
    #[error("no answer ({0})")]
    Failed(Box<ureq::Error>),
}

impl Client {
    /// A client that waits so long for a whole answer.
    pub(crate) fn new(patience: Duration) -> Self {
        let config = Agent::config_builder()
            .timeout_global(Some(patience))
            .http_status_as_error(false)
            // The token is for the one who was named, not for whom he points to.
            .max_redirects(0)
            .max_redirects_will_error(false)
            // A proxy of the environment is for the world outside; these answers come from next door.
            .proxy(None)
            .max_idle_connections(0)
            .user_agent(concat!("sluice/", env!("CARGO_PKG_VERSION")))
            .build();
        Self { agent: config.new_agent(), patience }
    }

    /// A GET.
    pub(crate) fn get(&self, url: &str, token: Option<&Token>) -> Result<Answer, HttpError> {
        let mut request = self.agent.get(url);
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, token.header());
        }
        self.read(request.call())
    }

    /// A POST with this body.
    pub(crate) fn post(
        &self,
        url: &str,
        token: Option<&Token>,
        body: &str,
    ) -> Result<Answer, HttpError> {
        let mut request = self.agent.post(url);
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, token.header());
        }
        self.read(request.send(body))
    }

    fn read(
        &self,
        response: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<Answer, HttpError> {
        let read = response.and_then(|mut response| {
            let body = response.body_mut().with_config().limit(LONGEST).read_to_vec()?;
            Ok(Answer { status: response.status().as_u16(), body })
        });
        read.map_err(|error| match error {
            ureq::Error::Timeout(_) => HttpError::TooLate(self.patience),
            ureq::Error::BodyExceedsLimit(_) => HttpError::TooLong,
            error => HttpError::Failed(Box::new(error)),
        })
    }
}
