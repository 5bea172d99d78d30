//! Presets: the defaults of common proxies, as data. Each value that differs from Envoy's default
//! names its source.

use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error};

use super::retry::{RetryCondition, RetryPolicy};
use super::settings::ProxySettings;
use crate::options::FailurePolicy;
use crate::trace::Text;

/// A proxy whose defaults are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Preset {
    /// Envoy, with the defaults of its API.
    #[default]
    Envoy,
    /// A sidecar of Istio, for requests that the application sends.
    IstioSidecar,
    /// A gateway of Istio.
    IstioGateway,
    /// Envoy Gateway.
    EnvoyGateway,
}

impl Preset {
    const ALL: [Self; 4] =
        [Self::Envoy, Self::IstioSidecar, Self::IstioGateway, Self::EnvoyGateway];

    /// The name in traces and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Envoy => "envoy",
            Self::IstioSidecar => "istio-sidecar",
            Self::IstioGateway => "istio-gateway",
            Self::EnvoyGateway => "envoy-gateway",
        }
    }

    /// The settings of this proxy, if nobody changes them.
    pub(super) fn settings(self) -> ProxySettings {
        match self {
            Self::Envoy => envoy(),
            Self::IstioSidecar => istio(),
            Self::IstioGateway => ProxySettings {
                // pilot/pkg/networking/core/gateway.go: createGatewayHTTPFilterChainOpts.
                use_remote_address: true,
                ..istio()
            },
            Self::EnvoyGateway => envoy_gateway(),
        }
    }
}

/// The defaults of Envoy's API.
fn envoy() -> ProxySettings {
    ProxySettings {
        preset: Preset::Envoy,
        version: Version::default(),
        // RouteAction.timeout.
        route_timeout: Some(Duration::from_secs(15)),
        route_idle_timeout: None,
        // HttpConnectionManager.stream_idle_timeout.
        stream_idle_timeout: Some(Duration::from_secs(5 * 60)),
        request_timeout: None,
        max_stream_duration: None,
        retry_policy: RetryPolicy::default(),
        // Listener.per_connection_buffer_limit_bytes.
        buffer_limit: 1 << 20,
        http10: false,
        normalize_path: false,
        merge_slashes: false,
        strip_trailing_host_dot: false,
        use_remote_address: false,
        respect_expected_rq_timeout: false,
        upgrades: Vec::new(),
        // PluginConfig.failure_policy.
        failure_policy: FailurePolicy::FailClosed,
        allow_on_headers_stop_iteration: false,
    }
}

/// Istio, from the files of istio/istio in `pilot/pkg/networking/core`.
fn istio() -> ProxySettings {
    ProxySettings {
        preset: Preset::IstioSidecar,
        // route/route.go: `Notimeout`, the timeout of a route without one.
        route_timeout: None,
        // listener_builder.go, buildHTTPConnectionManager, until `upgrades`.
        stream_idle_timeout: None,
        // MeshConfig.pathNormalization is DEFAULT, which is BASE.
        normalize_path: true,
        upgrades: vec!["websocket".to_owned()],
        // route/retry/retry.go, defaultPolicy. Before Istio 1.24, or with
        // EXCLUDE_UNSAFE_503_FROM_DEFAULT_RETRY=false, the retriable status codes are 503.
        retry_policy: RetryPolicy {
            retry_on: vec![
                RetryCondition::ConnectFailure,
                RetryCondition::RefusedStream,
                RetryCondition::Unavailable,
                RetryCondition::Cancelled,
                RetryCondition::RetriableStatusCodes,
            ],
            num_retries: Some(2),
            ..RetryPolicy::default()
        },
        ..envoy()
    }
}

/// Envoy Gateway, from the files of envoyproxy/gateway in `internal/xds/translator`.
fn envoy_gateway() -> ProxySettings {
    ProxySettings {
        preset: Preset::EnvoyGateway,
        // listener.go: tcpListenerPerConnectionBufferLimitBytes.
        buffer_limit: 32_768,
        // listener.go, addHCMToXDSListener, until `merge_slashes`. PathSettings in the gateway's
        // API: slashes are merged unless `disableMergeSlashes` is set.
        use_remote_address: true,
        normalize_path: true,
        merge_slashes: true,
        // route.go, buildXdsRoute: HTTPRoutes allow the upgrade.
        upgrades: vec!["websocket".to_owned()],
        ..envoy()
    }
}

impl<'de> Deserialize<'de> for Preset {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = Text::deserialize(deserializer)?;
        by_name(&name, ("preset", "presets"), &Self::ALL, Self::name).map_err(D::Error::custom)
    }
}

/// The version of Envoy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
#[non_exhaustive]
pub enum Version {
    V1_37,
    V1_39,
    #[default]
    V1_40,
}

impl Version {
    const ALL: [Self; 3] = [Self::V1_37, Self::V1_39, Self::V1_40];

    /// The name in traces and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::V1_37 => "1.37",
            Self::V1_39 => "1.39",
            Self::V1_40 => "1.40",
        }
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = Text::deserialize(deserializer)?;
        by_name(&name, ("version", "versions"), &Self::ALL, Self::name).map_err(D::Error::custom)
    }
}

/// Finds a value by its name; the error lists the known names.
pub(super) fn by_name<T: Copy>(
    name: &str,
    (kind, kinds): (&str, &str),
    known: &[T],
    name_of: fn(T) -> &'static str,
) -> Result<T, String> {
    known.iter().copied().find(|value| name_of(*value) == name).ok_or_else(|| {
        let known: Vec<&str> = known.iter().map(|value| name_of(*value)).collect();
        format!("unknown {kind} {name:?}; known {kinds}: {}", known.join(", "))
    })
}
