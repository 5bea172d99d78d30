//! The faults of a run.

use std::fmt;
use std::time::Duration;

/// A fault, and when it happens. Times count from the start of the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlannedFault {
    /// The start.
    pub at: Duration,
    /// The length; zero for a fault that is a single event.
    pub lasts: Duration,
    /// The kind, with its settings.
    pub fault: Fault,
}

/// A kind of fault. `proxy` is the index of the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The store accepts no connection.
    StoreRefuses,
    /// The store accepts connections and never responds.
    StoreHangs,
    /// The store responds after this time.
    StoreSlow(Duration),
    /// The store sends half of each response; then it closes the connection, or stalls.
    StoreHalf {
        /// Whether the connection stays open.
        stalls: bool,
    },
    /// The store responds with something else.
    StoreNonsense(Nonsense),
    /// etcd restarts empty, or with an older record.
    StoreLosesData {
        /// Whether it has an older record.
        keeps_older: bool,
    },
    /// The control plane pushes configurations faster than `drain.refresh`.
    FastPushes {
        /// The proxy.
        proxy: usize,
    },
    /// A VM crashes.
    Crash {
        /// The proxy.
        proxy: usize,
        /// Whether the VM of each worker crashes.
        all: bool,
    },
    /// The listener changes, and Envoy drains its connections.
    ListenerUpdate {
        /// The proxy.
        proxy: usize,
        /// Whether Envoy replaces the whole listener, or only its filter chain.
        whole: bool,
    },
    /// Envoy drains all listeners; a hot restart follows.
    OwnDrain {
        /// The proxy.
        proxy: usize,
    },
    /// Envoy restarts without closing its listeners.
    HotRestart {
        /// The proxy.
        proxy: usize,
    },
    /// The process is suspended (SIGSTOP).
    Suspend {
        /// The proxy.
        proxy: usize,
    },
}

/// A response that is not a response of etcd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nonsense {
    /// Bytes that are not HTTP.
    NotHttp,
    /// Status 500 with a page.
    Status500,
    /// Status 200 with a page.
    Page,
    /// An object without the fields of etcd.
    EmptyObject,
    /// A record that is not valid.
    InvalidRecord,
    /// A `terminate` with the highest epoch that a record can have.
    HighestEpoch,
}

impl Nonsense {
    pub(super) const ALL: [Self; 6] = [
        Self::NotHttp,
        Self::Status500,
        Self::Page,
        Self::EmptyObject,
        Self::InvalidRecord,
        Self::HighestEpoch,
    ];
}

/// The name of a proxy in reports.
pub(super) fn proxy_name(index: usize) -> char {
    char::from(b'a' + index as u8)
}

impl fmt::Display for PlannedFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {:.1?}", self.fault, self.at)?;
        if !self.lasts.is_zero() {
            write!(f, " for {:.1?}", self.lasts)?;
        }
        Ok(())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::StoreRefuses => f.write_str("store refuses"),
            Self::StoreHangs => f.write_str("store hangs"),
            Self::StoreSlow(delay) => write!(f, "store responds after {delay:?}"),
            Self::StoreHalf { stalls: false } => f.write_str("store closes within responses"),
            Self::StoreHalf { stalls: true } => f.write_str("store stalls within responses"),
            Self::StoreNonsense(kind) => write!(f, "store responds with nonsense ({kind:?})"),
            Self::StoreLosesData { keeps_older: false } => f.write_str("etcd restarts empty"),
            Self::StoreLosesData { keeps_older: true } => {
                f.write_str("etcd restarts with an older record")
            }
            Self::FastPushes { proxy } => write!(f, "fast pushes to {}", proxy_name(proxy)),
            Self::Crash { proxy, all: false } => write!(f, "crash in {}", proxy_name(proxy)),
            Self::Crash { proxy, all: true } => {
                write!(f, "crash of all workers of {}", proxy_name(proxy))
            }
            Self::ListenerUpdate { proxy, whole: true } => {
                write!(f, "new listener in {}", proxy_name(proxy))
            }
            Self::ListenerUpdate { proxy, whole: false } => {
                write!(f, "new filter chain in {}", proxy_name(proxy))
            }
            Self::OwnDrain { proxy } => {
                write!(f, "/drain_listeners and hot restart of {}", proxy_name(proxy))
            }
            Self::HotRestart { proxy } => write!(f, "hot restart of {}", proxy_name(proxy)),
            Self::Suspend { proxy } => write!(f, "{} suspended", proxy_name(proxy)),
        }
    }
}
