//! The clients' connections: which worker serves them, when the proxy closes them, and that a client
//! whose connection was closed opens a new one for its next request.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::ConnectionInfo;
use crate::trace::{Exchange, Open, Protocol};

/// A connection of the trace.
///
/// One that the proxy closes while exchanges are under way on it goes on beside the one that its client
/// opens next: they are two values here, of the same name.
pub(super) struct Connection<'t> {
    /// Which of the trace's connections it is.
    pub(super) index: usize,
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
    /// Where the engine's list has the one that the client opened beside this one.
    pub(super) next: Option<usize>,
}

impl<'t> Connection<'t> {
    /// A connection before it is opened for the first time.
    pub(super) fn new(index: usize, name: &'t str) -> Self {
        Self {
            index,
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
            next: None,
        }
    }

    /// What the client opens beside this connection, which still has exchanges under way.
    pub(super) fn successor(&self) -> Self {
        Self {
            protocol: self.protocol,
            worker: self.worker,
            generation: self.generation,
            source: self.source,
            ..Self::new(self.index, self.name)
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
