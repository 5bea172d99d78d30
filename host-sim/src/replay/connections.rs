//! The clients' connections: which worker serves them, when the proxy closes them, and that a client
//! whose connection was closed opens a new one for its next request.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::ConnectionInfo;
use crate::trace::{Exchange, Open, Protocol};

/// A connection of the trace, through all its reopenings.
pub(super) struct Connection<'t> {
    /// The name in the trace.
    pub(super) name: &'t str,
    /// The HTTP version.
    pub(super) protocol: Protocol,
    /// The worker.
    pub(super) worker: usize,
    /// What the filter can learn of the present connection; `None` while there is none.
    pub(super) info: Option<Arc<ConnectionInfo>>,
    /// How often it was opened.
    pub(super) generation: u32,
    /// When it was opened last.
    pub(super) opened: Duration,
    /// Exchanges under way, as slots of the engine.
    pub(super) active: Vec<u32>,
    /// Requests that wait for the one before them, on HTTP/1.
    pub(super) waiting: VecDeque<(u32, &'t Exchange<'t>)>,
    /// Whether the proxy has said that it closes the connection: no new exchange begins on it.
    pub(super) draining: bool,
    /// The client's address.
    pub(super) source: &'t str,
}

impl<'t> Connection<'t> {
    /// A connection before it is opened for the first time.
    pub(super) fn new(name: &'t str) -> Self {
        Self {
            name,
            protocol: Protocol::Http1,
            worker: 0,
            info: None,
            generation: 0,
            opened: Duration::ZERO,
            active: Vec::new(),
            waiting: VecDeque::new(),
            draining: false,
            source: "",
        }
    }

    /// Takes over what the trace says of the connection.
    pub(super) fn describe(&mut self, open: &'t Open<'t>) {
        self.protocol = open.protocol;
        if let Some(source) = &open.source {
            self.source = source;
        }
    }

    /// Whether a new exchange can begin on it as it is.
    pub(super) fn usable(&self) -> bool {
        self.info.is_some() && !self.draining
    }

    /// Whether a new exchange must wait for another one.
    pub(super) fn busy(&self) -> bool {
        !self.protocol.multiplexes() && !self.active.is_empty()
    }
}
