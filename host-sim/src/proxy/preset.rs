//! Presets: the defaults of common proxies, as data. Each value that differs from Envoy's default
//! names its source.

use std::time::Duration;

use super::actions::{EscapedSlashes, Underscores};
use super::kind::{Preset, Version};
use super::retry::{RetryCondition, RetryPolicy};
use super::section::ProxySection;
use super::settings::ProxySettings;
use crate::options::FailurePolicy;

impl Default for ProxySettings {
    fn default() -> Self {
        defaults(Preset::default())
    }
}

impl ProxySettings {
    /// The preset of the section, with its other fields.
    pub fn of(section: &ProxySection) -> Self {
        let mut settings = defaults(section.preset.unwrap_or_default());
        let set = |setting: &mut Option<Duration>, field: Option<Duration>| {
            if let Some(timeout) = field {
                *setting = enabled(timeout);
            }
        };
        set(&mut settings.route_timeout, section.route_timeout);
        set(&mut settings.stream_idle_timeout, section.stream_idle_timeout);
        set(&mut settings.request_timeout, section.request_timeout);
        set(&mut settings.max_stream_duration, section.max_stream_duration);
        settings.max_grpc_timeout = section.max_grpc_timeout.or(settings.max_grpc_timeout);
        if let Some(timeout) = section.route_idle_timeout {
            settings.route_idle_timeout = Some(enabled(timeout));
        }
        macro_rules! set {
            ($($field:ident),* $(,)?) => {$(
                if let Some(value) = section.$field.clone() {
                    settings.$field = value;
                }
            )*};
        }
        set!(
            version,
            retry_policy,
            buffer_limit,
            http10,
            normalize_path,
            merge_slashes,
            path_with_escaped_slashes_action,
            headers_with_underscores_action,
            strip_trailing_host_dot,
            use_remote_address,
            generate_request_id,
            internal_addresses,
            respect_expected_rq_timeout,
            upgrades,
            failure_policy,
            allow_on_headers_stop_iteration,
        );
        settings
    }
}

/// Envoy disables a timeout of 0.
fn enabled(timeout: Duration) -> Option<Duration> {
    Some(timeout).filter(|timeout| !timeout.is_zero())
}

/// The settings of a proxy, if nobody changes them.
fn defaults(preset: Preset) -> ProxySettings {
    match preset {
        Preset::Envoy => envoy(),
        Preset::IstioSidecar => istio(),
        Preset::IstioGateway => ProxySettings {
            // pilot/pkg/networking/core/gateway.go: createGatewayHTTPFilterChainOpts.
            use_remote_address: true,
            ..istio()
        },
        Preset::EnvoyGateway => envoy_gateway(),
    }
}

/// The defaults of Envoy's API.
fn envoy() -> ProxySettings {
    ProxySettings {
        preset: Preset::Envoy,
        version: Version::default(),
        // RouteAction.timeout.
        route_timeout: Some(Duration::from_secs(15)),
        max_grpc_timeout: None,
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
        path_with_escaped_slashes_action: EscapedSlashes::KeepUnchanged,
        headers_with_underscores_action: Underscores::Allow,
        strip_trailing_host_dot: false,
        use_remote_address: false,
        // HttpConnectionManager.generate_request_id.
        generate_request_id: true,
        // HttpConnectionManager.internal_address_config: no address, since Envoy 1.33.
        internal_addresses: Vec::new(),
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
        // route/route.go, setTimeout: `Notimeout`, for a route without a timeout.
        route_timeout: None,
        max_grpc_timeout: Some(Duration::ZERO),
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
        // listener.go, addHCMToXDSListener. The gateway's own default of the path settings is in
        // internal/gatewayapi/listener.go.
        use_remote_address: true,
        normalize_path: true,
        merge_slashes: true,
        path_with_escaped_slashes_action: EscapedSlashes::UnescapeAndRedirect,
        // listener.go, buildHeadersWithUnderscoresAction: without header settings.
        headers_with_underscores_action: Underscores::RejectRequest,
        // route.go, buildXdsRoute: HTTPRoutes allow the upgrade.
        upgrades: vec!["websocket".to_owned()],
        ..envoy()
    }
}
