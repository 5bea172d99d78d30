//! The connections of clients: their workers, their exchanges, and when they open and close.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::ConnectionInfo;
use crate::trace::{ConnectionIndex, Open, Protocol};

use super::exchange::Spec;
use super::report::{ClosedBy, ConnectionReport};

/// A connection of the trace.
///
/// If the proxy drains a connection that still has exchanges, the client opens another one for its
/// next request. Then there are two values with the same name (see [`Openings`]).
pub(super) struct Connection {
    pub(super) index: ConnectionIndex,
    /// The name in the trace.
    pub(super) name: Rc<str>,
    /// Whether it carries one exchange only, and closes with it.
    pub(super) own: bool,
    pub(super) protocol: Protocol,
    pub(super) worker: usize,
    /// The properties that the filter can read; `None` while the connection is closed.
    pub(super) info: Option<Arc<ConnectionInfo>>,
    /// The number of times that the connection was opened.
    pub(super) opening: u32,
    pub(super) opened: Duration,
    /// The slots of the exchanges in flight.
    pub(super) active: Vec<u32>,
    /// The requests that wait for the previous exchange, on HTTP/1.
    pub(super) waiting: VecDeque<Spec>,
    /// Whether the proxy has announced that it closes the connection, so that it takes no new
    /// exchange.
    pub(super) draining: bool,
    /// The client's address, if the trace has one.
    pub(super) source: Option<Rc<str>>,
}

impl Connection {
    /// A connection that was not opened yet.
    pub(super) fn new(index: ConnectionIndex, name: &str, own: bool) -> Self {
        Self {
            index,
            name: name.into(),
            own,
            protocol: Protocol::Http1,
            worker: 0,
            info: None,
            opening: 0,
            opened: Duration::ZERO,
            active: Vec::new(),
            waiting: VecDeque::new(),
            draining: false,
            source: None,
        }
    }

    /// The connection that the client opens while this one is draining.
    pub(super) fn to_successor(&self) -> Self {
        Self {
            protocol: self.protocol,
            worker: self.worker,
            opening: self.opening,
            source: self.source.clone(),
            ..Self::new(self.index, &self.name, self.own)
        }
    }

    /// Sets the properties that the trace specifies.
    pub(super) fn describe(&mut self, open: &Open<'_>) {
        self.protocol = open.protocol;
        if let Some(source) = &open.source {
            self.source = Some((**source).into());
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
    ) -> Option<ConnectionReport<'_>> {
        let info = self.info.as_ref()?;
        Some(ConnectionReport {
            index: self.index.0,
            name: Cow::Borrowed(&self.name),
            opening: self.opening,
            id: info.id,
            worker: self.worker,
            opened: self.opened,
            closed: closed.map(|(at, _)| at),
            by: closed.map(|(_, by)| by),
        })
    }
}

/// The slots of the connections with one name.
#[derive(Debug, Clone, Default)]
pub(super) struct Openings {
    /// The connection that takes new requests.
    pub(super) current: usize,
    /// Its predecessors that the proxy is draining, in the order in which they were opened.
    pub(super) draining: Vec<usize>,
}
