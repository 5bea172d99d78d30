//! The sections `drain` and `health`, as written.

use super::duration::{Interval, Refresh, Timeout, Window};
use super::error::{ConfigError, Problem};
use super::read::{OneOrMore, Place, Read as _, record, words};
use super::scalar::{
    DrainStatus, Epoch, ForeignName, HostName, PathText, Percent, RouteName, StoreKey, TokenHash,
};

record! {
    /// How this process takes part in drains.
    pub struct DrainSpec {
        required {}
        optional {
            /// A drain that starts with this configuration.
            state: DrainStateSpec,
            /// The interval at which a worker reads the drain record and reports its metrics; 250ms
            /// if absent.
            refresh: Refresh,
            /// How the filter requests that the proxy closes a connection; auto if absent.
            signal: Signal,
            /// A key in a key-value store that holds the drain record of the fleet.
            control: ControlSpec,
            /// A path at which an operator reads and changes the drain of this process.
            admin: AdminSpec,
        }
    }
}

record! {
    /// A key in a key-value store that holds the drain record of the fleet. One worker of the
    /// process polls it.
    pub struct ControlSpec {
        required {
            /// The proxy's cluster for the store.
            cluster: ForeignName,
            /// The kind of store.
            format: StoreFormat,
            /// The key; for raw, the path.
            key: StoreKey,
        }
        optional {
            /// The interval between two polls while the store responds; 1s if absent.
            interval: Interval,
            /// The timeout of one poll; 500ms if absent.
            timeout: Timeout,
            /// The authority of the requests; if absent, the cluster's name where it is a valid
            /// host name.
            authority: HostName,
        }
    }
}

words! {
    /// The kind of store that holds the drain record.
    pub enum StoreFormat {
        /// The key is a path. The response body to a GET is the record.
        Raw = "raw",
        /// etcd's JSON gateway, from etcd 3.4 on.
        EtcdV3 = "etcd-v3",
        /// Consul's key-value store.
        Consul = "consul",
    }
}

record! {
    /// A path at which an operator reads and changes the drain of this process.
    pub struct AdminSpec {
        required {
            /// The path, compared without the query.
            path: PathText,
            /// The SHA-256 of the bearer token, in hexadecimal digits.
            token_sha256: TokenHash,
        }
        optional {}
    }
}

words! {
    /// How the filter requests that the proxy closes a connection.
    pub enum Signal {
        /// `marker` in Envoy, `header` in other proxies.
        Auto = "auto",
        /// The response header `x-sluice-drain: close`. The drain bridge removes it and closes the
        /// connection.
        Marker = "marker",
        /// `connection: close` in HTTP/1.x. Later versions forbid the header, and nothing is sent.
        Header = "header",
    }
}

words! {
    /// Which connections a drain closes.
    pub enum DrainMode {
        /// The connections that were open when it started.
        Reload = "reload",
        /// Every connection, new ones too.
        Terminate = "terminate",
        /// A percentage of the connections that were open when it started.
        Rebalance = "rebalance",
        /// None. This mode ends the previous drain.
        Off = "off",
    }
}

record! {
    /// A drain that starts with a configuration.
    pub struct DrainStateSpec {
        required {
            /// The number of the drain. It takes effect if it is higher than the one in force, and
            /// at most the Unix time in microseconds plus 50 days.
            epoch: Epoch,
            /// Which connections it closes.
            mode: DrainMode,
        }
        optional {
            /// The time over which the closes are spread. If absent: 30s for reload and rebalance,
            /// none for terminate.
            window: Window,
            /// The percentage of connections that a rebalance closes.
            percent: Percent,
            /// Only responses of these routes close a connection; if absent, responses of all
            /// routes.
            routes: OneOrMore<RouteName>,
        }
    }
}

record! {
    /// The path that a load balancer probes. It fails while the proxy terminates.
    pub struct HealthSpec {
        required {
            /// The path, compared without the query.
            path: PathText,
        }
        optional {
            /// The status while the proxy terminates; 503 if absent.
            drain_status: DrainStatus,
            /// Whether the filter replies with 200 at other times, instead of the upstream.
            local: bool,
        }
    }
}

/// Requires `percent` for a rebalance and refuses it for other modes.
pub(crate) fn check_percent(
    mode: DrainMode,
    percent: Option<Percent>,
    at: &Place<'_>,
) -> Result<(), ConfigError> {
    let problem = match (mode, percent) {
        (DrainMode::Rebalance, None) => Problem::Missing { expected: Percent::EXPECTED },
        (DrainMode::Rebalance, Some(_)) | (_, None) => return Ok(()),
        (_, Some(_)) => {
            let reason =
                "found without the mode rebalance, the only one with a percentage; remove it";
            Problem::Misplaced { reason }
        }
    };
    Place::Field(at, "percent").refuse(problem)
}
