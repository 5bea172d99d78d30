//! The connections of clients: their workers, their exchanges, and when they open and close.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::ConnectionInfo;
use crate::trace::{Exchange, Open, Protocol};

use super::report::{ClosedBy, ConnectionReport};

/// A connection of the trace.
///
/// If the proxy drains a connection that still has exchanges, the client opens another one for its
/// next request. Then there are two values with the same name.
pub(super) struct Connection<'t> {
    /// The index in the trace.
    pub(super) index: usize,
    /// The name in the trace.
    pub(super) name: &'t str,
    pub(super) protocol: Protocol,
    pub(super) worker: usize,
    /// The properties that the filter can read; `None` while the connection is closed.
    pub(super) info: Option<Arc<ConnectionInfo>>,
    /// The number of times that the connection was opened.
    pub(super) opening: u32,
    pub(super) opened: Duration,
    /// The slots of the exchanges in flight.
    pub(super) active: Vec<u32>,
    /// The lines and requests that wait for the previous exchange, on HTTP/1.
    pub(super) waiting: VecDeque<(u32, &'t Exchange<'t>)>,
    /// Whether the proxy has announced that it closes the connection, so that it takes no new
    /// exchange.
    pub(super) draining: bool,
    /// The client's address.
    pub(super) source: &'t str,
    /// The index of the connection that the client opened while this one was draining.
    pub(super) successor: Option<usize>,
}

impl<'t> Connection<'t> {
    /// A connection that was not opened yet.
    pub(super) fn new(index: usize, name: &'t str) -> Self {
        Self {
            index,
            name,
            protocol: Protocol::Http1,
            worker: 0,
            info: None,
            opening: 0,
            opened: Duration::ZERO,
            active: Vec::new(),
            waiting: VecDeque::new(),
            draining: false,
            source: "",
            successor: None,
        }
    }

    /// The connection that the client opens while this one is draining.
    pub(super) fn to_successor(&self) -> Self {
        Self {
            protocol: self.protocol,
            worker: self.worker,
            opening: self.opening,
            source: self.source,
            ..Self::new(self.index, self.name)
        }
    }

    /// Sets the properties that the trace specifies.
    pub(super) fn describe(&mut self, open: &'t Open<'t>) {
        self.protocol = open.protocol;
        if let Some(source) = &open.source {
            self.source = source;
        }
    }

    /// Whether a new exchange can start without opening the connection again.
    pub(super) fn is_usable(&self) -> bool {
        self.info.is_some() && !self.draining
    }

    /// Whether a new exchange has to wait for the current one.
    pub(super) fn is_busy(&self) -> bool {
        !self.protocol.multiplexes() && !self.active.is_empty()
    }

    /// The report of the connection, or `None` if it is closed.
    pub(super) fn report(
        &self,
        closed: Option<(Duration, ClosedBy)>,
    ) -> Option<ConnectionReport<'t>> {
        let info = self.info.as_ref()?;
        Some(ConnectionReport {
            index: self.index,
            name: self.name,
            opening: self.opening,
            id: info.id,
            worker: self.worker,
            opened: self.opened,
            closed: closed.map(|(at, _)| at),
            by: closed.map(|(_, by)| by),
        })
    }
}
