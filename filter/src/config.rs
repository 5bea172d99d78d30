//! The configuration document: types for the JSON text that a proxy passes to the plugin.
//!
//! These types have the values as written, and nothing here depends on the compiled rules.
//! [`load`](crate::load::load) checks a document and compiles it into
//! [`Rules`](crate::rules::Rules), with all defaults filled in.

mod document;
mod drain;
mod duration;
mod error;
mod json;
mod matching;
mod placeholders;
mod read;
mod scalar;
#[cfg(feature = "schema")]
mod schema;
mod span;

pub use document::{
    BufferingMode, BufferingSpec, Document, ErrorsSpec, LingeringSpec, MAX_DOCUMENT, OnDrain,
    PageSpec, PolicySpec, ReportSpec, RequestBuffering, RetriesSpec, RetryOff, RetryOn, RetrySpec,
    RouteSpec, StreamDrainSpec, TimeoutsSpec,
};
pub(crate) use drain::check_percent;
pub use drain::{
    AdminSpec, ControlSpec, DrainMode, DrainSpec, DrainStateSpec, HealthSpec, Signal, StoreFormat,
};
pub use duration::{Interval, LingeringTime, Refresh, SpanWithin, Timeout, Window};
pub use error::{ConfigError, Problem};
pub(crate) use error::{quoted, write_place};
pub(crate) use json::{Node, parse_json};
pub use matching::{HeaderCondition, MatchSpec, PathCondition, ValueCondition};
pub use placeholders::PLACEHOLDERS;
pub(crate) use placeholders::in_braces;
pub use read::OneOrMore;
pub(crate) use read::{Fields, Place, Read, text};
pub(crate) use scalar::is_host_name;
pub use scalar::{
    Attempts, CloseCode, DrainStatus, Epoch, EventName, ForeignName, HeaderName, HeaderText,
    HostName, HostPattern, LastEvent, MaxBytes, MediaType, Method, NO_ROUTE, PageText, PathText,
    Pattern, Percent, RetriedStatus, RouteName, StoreKey, TokenHash, UnixMs, Version, WindowMs,
    is_store_key,
};
#[cfg(feature = "schema")]
pub use schema::schema;
pub use span::Span;
