//! The state of one VM. It outlives plugin configurations, and all plugins and streams of the VM
//! share it. The adapter keeps the value and lends it to every callback.

mod drain;
mod exchanges;
mod store_plugins;
mod timers;

use crate::decision;
use crate::drain::{DrainView, Poller};
use crate::grpc_health::HealthWatches;
use crate::headers::Headers;
use crate::host::{HeaderMap, Host, LogLevel, property};
use crate::lingering::WaitingReplies;
use crate::members::Membership;
use crate::metrics::{General, Metrics};
use crate::plugin_config::HostTraits;
use crate::waiting::{OpenStreams, WrittenRows};

pub(crate) use store_plugins::StorePlugins;
pub(crate) use timers::{PluginId, StreamOwner};

use exchanges::Exchanges;
use timers::PluginTimers;

/// The state of one VM.
#[derive(Debug, Default)]
pub struct Vm {
    pub(crate) drain: DrainView,
    pub(crate) metrics: Metrics,
    pub(crate) store_plugins: StorePlugins,
    pub(crate) timers: PluginTimers,
    pub(crate) waiting_replies: WaitingReplies,
    pub(crate) health_watches: HealthWatches,
    pub(crate) poller: Poller,
    pub(crate) exchanges: Exchanges,
    /// In-flight requests of this VM.
    pub(crate) in_flight: u64,
    /// Its streams, if a drain can close their connections.
    pub(crate) open_streams: OpenStreams,
    waiting: WrittenRows,
    membership: Membership,
    /// The memory of the headers that were read last. Keeping it spares an allocation for each
    /// request.
    headers: Headers,
    /// Read from the host at the first plugin configuration.
    host_traits: Option<HostTraits>,
    is_bridge_reported: bool,
    is_bypass_reported: bool,
    is_grpc_bridge_reported: bool,
    is_holding_reported: bool,
}

impl Vm {
    /// The header fields of a map; none if the host refuses them. [`keep_headers`](Self::keep_headers)
    /// takes their memory back.
    pub(crate) fn read_headers(&mut self, host: &mut impl Host, map: HeaderMap) -> Headers {
        let mut headers = std::mem::take(&mut self.headers);
        match host.read_headers(map, &mut headers) {
            Ok(()) => headers,
            Err(_) => Headers::default(),
        }
    }

    pub(crate) fn keep_headers(&mut self, headers: Headers) {
        self.headers = headers;
    }

    pub(crate) fn host_traits(&mut self, host: &mut impl Host) -> HostTraits {
        *self.host_traits.get_or_insert_with(|| HostTraits {
            is_envoy: property(host, &["xds", "node", "user_agent_name"])
                .is_some_and(|name| name == b"envoy"),
            wants_decisions: host.call_foreign_function(decision::FUNCTION, b"").is_ok(),
        })
    }

    /// Reports that a response kept its drain marker to the end: no drain bridge closed the
    /// connection.
    pub(crate) fn report_missing_bridge(&mut self, host: &mut impl Host) {
        self.metrics.add(General::BridgeMissing, 1);
        if !std::mem::replace(&mut self.is_bridge_reported, true) {
            let message = "no drain bridge removed x-sluice-drain from a response, so the connection stays \
                           open: put the drain bridge before this filter, or set drain.signal to header";
            host.log(LogLevel::Error, message);
        }
    }

    /// Reports that no gRPC bridge added a body to the reply to a gRPC health check.
    pub(crate) fn report_missing_grpc_bridge(&mut self, host: &mut impl Host) {
        if !std::mem::replace(&mut self.is_grpc_bridge_reported, true) {
            let message = "no gRPC bridge added a body to the reply to a gRPC health check, so its client \
                           takes the proxy for unhealthy: put the gRPC bridge behind this filter";
            host.log(LogLevel::Error, message);
        }
    }

    /// Reports that the host keeps bodies back while the filter holds their headers.
    pub(crate) fn report_impossible_holding(&mut self, host: &mut impl Host) {
        if !std::mem::replace(&mut self.is_holding_reported, true) {
            let message = "the host keeps a body back while the filter holds its headers, so that \
                           buffering.hold_headers and lingering have no effect: set \
                           allow_on_headers_stop_iteration: true in Envoy's plugin configuration";
            host.log(LogLevel::Error, message);
        }
    }

    /// Reports that an earlier filter replied on a connection that the drain would have closed.
    /// `details` are the proxy's response code details.
    pub(crate) fn report_bypass(&mut self, host: &mut impl Host, details: &str) {
        self.metrics.add(General::DrainBypassed, 1);
        if !std::mem::replace(&mut self.is_bypass_reported, true) {
            let message = format!(
                "a filter before this one replied ({details}), so the connection stays open during a drain: \
                 put this filter before every filter that can reply"
            );
            host.log(LogLevel::Error, &message);
        }
    }
}
