//! Events that own the text of their line, so that a reader can drop each line after it.

use std::borrow::Cow;
use std::fmt;

use self_cell::self_cell;

use super::data::Data;
use super::event::{ClusterResponse, Event, EventKind, Exchange, Headers, Open, SharedData};
use super::expect::{ConfigureExpect, TrapExpect};
use super::text::Text;

/// An event that owns the text of its line.
pub type OwnedEvent = Event<'static, OwnedExchange>;

self_cell!(
    struct ExchangeOfLine {
        owner: Box<str>,

        #[covariant]
        dependent: Exchange,
    }
);

/// An exchange that owns the text of its line.
pub struct OwnedExchange(ExchangeOfLine);

impl OwnedExchange {
    /// The exchange, which borrows from the text.
    pub fn get(&self) -> &Exchange<'_> {
        self.0.borrow_dependent()
    }
}

impl fmt::Debug for OwnedExchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

/// Parses `line` with `parse`, and keeps the text if the event is an exchange. `parse` returns
/// `None` for a line without an event.
pub(super) fn parse_owned<E>(
    line: &str,
    parse: impl FnOnce(&str) -> Result<Option<Event<'_>>, E>,
) -> Result<Option<OwnedEvent>, E> {
    let mut place = (0, std::time::Duration::ZERO);
    let cell = ExchangeOfLine::try_new(Box::from(line), |text| {
        let Some(event) = parse(text).map_err(Err)? else { return Err(Ok(None)) };
        place = (event.line, event.at);
        event.kind.into_exchange().map_err(|other| Ok(Some(other)))
    });
    let kind = match cell {
        Ok(exchange) => EventKind::Exchange(OwnedExchange(exchange)),
        Err(Ok(Some(other))) => other,
        Err(Ok(None)) => return Ok(None),
        Err(Err(error)) => return Err(error),
    };
    let (line, at) = place;
    Ok(Some(Event { line, at, kind }))
}

impl<'a> EventKind<'a> {
    /// The exchange, or any other event without the text of its line.
    fn into_exchange(self) -> Result<Exchange<'a>, EventKind<'static, OwnedExchange>> {
        Err(match self {
            Self::Exchange(exchange) => return Ok(*exchange),
            Self::Configure { configuration, expect } => EventKind::Configure {
                configuration: Cow::Owned(configuration.into_owned()),
                expect: expect.into_owned(),
            },
            Self::Open { connection, name, open } => {
                EventKind::Open { connection, name: name.into_owned(), open: open.into_owned() }
            }
            Self::SharedData(SharedData { key, value }) => EventKind::SharedData(SharedData {
                key: key.into_owned(),
                value: Cow::Owned(value.into_owned()),
            }),
            Self::Cluster { cluster, respond } => EventKind::Cluster {
                cluster: cluster.into_owned(),
                respond: Box::new(respond.into_owned()),
            },
            Self::Close { connection, by } => EventKind::Close { connection, by },
            Self::Clock(time) => EventKind::Clock(time),
            Self::Stall { worker, duration } => EventKind::Stall { worker, duration },
            Self::Metrics(metrics) => EventKind::Metrics(
                metrics.into_iter().map(|(name, value)| (name.into_owned(), value)).collect(),
            ),
        })
    }
}

impl Text<'_> {
    fn into_owned(self) -> Text<'static> {
        Text(Cow::Owned(self.0.into_owned()))
    }
}

impl Data<'_> {
    fn into_owned(self) -> Data<'static> {
        Data(Cow::Owned(self.0.into_owned()))
    }
}

impl Open<'_> {
    fn into_owned(self) -> Open<'static> {
        let Self { protocol, worker, id, source } = self;
        Open { protocol, worker, id, source: source.map(Text::into_owned) }
    }
}

impl ConfigureExpect<'_> {
    fn into_owned(self) -> ConfigureExpect<'static> {
        let trap = self.trap.map(|trap| match trap {
            TrapExpect::Crashes(crashes) => TrapExpect::Crashes(crashes),
            TrapExpect::Message(text) => TrapExpect::Message(text.into_owned()),
        });
        ConfigureExpect { accepted: self.accepted, trap }
    }
}

impl ClusterResponse<'_> {
    fn into_owned(self) -> ClusterResponse<'static> {
        let Self { after, status, headers, body, messages, trailers, end } = self;
        ClusterResponse {
            after,
            status,
            headers: owned_headers(headers),
            body: body.map(Data::into_owned),
            messages: messages.map(|messages| messages.into_iter().map(Data::into_owned).collect()),
            trailers: trailers.map(owned_headers),
            end,
        }
    }
}

fn owned_headers(headers: Headers<'_>) -> Headers<'static> {
    headers.into_iter().map(|(name, value)| (name.into_owned(), value.into_owned())).collect()
}
