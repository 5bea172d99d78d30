//! The ways in which an Envoy is drained before it is killed, each with all of its settings.

use std::time::Duration;

use serde_json::{Value, json};

/// How an Envoy is drained before it is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DrainMethod {
    /// By the filter's mode `terminate`, which closes connections within this window.
    Sluice(Duration),
    /// As `Sluice`, but HAProxy stops new connections at once, before its health check fails.
    SluiceStateDrain(Duration),
    /// By `/healthcheck/fail`.
    HealthcheckFail,
    /// By `/healthcheck/fail`, with `drain_timeout_jitter`.
    HealthcheckFailJitter,
    /// By `/drain_listeners?graceful`, after which the listeners close.
    Listeners,
    /// By `/drain_listeners?graceful&skip_exit`, after which the listeners stay open.
    ListenersSkipExit,
    /// By `max_connection_duration` with jitter: the restart waits until all connections are too
    /// old.
    MaxConnectionDuration,
    /// Envoy is not drained.
    None,
}

/// The settings of Envoy and of the balancer for one drain method.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    /// The name in tables.
    pub name: &'static str,
    /// The oldest Envoy that has all settings.
    pub since: (u32, u32),
    /// The program that replies to the balancer's health check.
    pub health: Health,
    /// Fields of the connection manager.
    pub connection_manager: Value,
    /// Envoy's option `--drain-time-s`.
    pub drain_time: &'static str,
    /// Whether `set server … state drain` stops HAProxy's new connections at once. Otherwise, its
    /// health check must fail.
    pub balancer_drains: bool,
    /// The command that starts the drain in Envoy.
    pub start: Start,
    /// Whether the last connection closes before Envoy is killed.
    pub waits: bool,
}

/// The program that replies to the balancer's health check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Health {
    /// The filter; Envoy runs it with the drain bridge.
    Sluice,
    /// Envoy's filter for health checks.
    Envoy,
    /// The service.
    Service,
}

/// The command that starts the drain in Envoy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// A command at the filter's admin path, with this window.
    Terminate(Duration),
    /// A POST request to this path of Envoy's admin port.
    Admin(&'static str),
    /// No command.
    None,
}

impl DrainMethod {
    pub(super) fn settings(self) -> Settings {
        // The default of `--drain-time-s`, ten minutes, is meant for hot restarts.
        let without_drain = Settings {
            name: "Envoy, killed without a drain",
            since: (1, 37),
            health: Health::Service,
            connection_manager: json!({}),
            drain_time: "10",
            balancer_drains: true,
            start: Start::None,
            waits: false,
        };
        let admin = |path| Settings {
            balancer_drains: false,
            start: Start::Admin(path),
            waits: true,
            ..without_drain.clone()
        };
        let sluice = |window| Settings {
            name: "Sluice, terminate",
            health: Health::Sluice,
            balancer_drains: false,
            start: Start::Terminate(window),
            waits: true,
            ..without_drain.clone()
        };
        let healthcheck_fail = Settings {
            name: "Envoy, /healthcheck/fail",
            health: Health::Envoy,
            ..admin("/healthcheck/fail")
        };
        match self {
            Self::Sluice(window) => sluice(window),
            Self::SluiceStateDrain(window) => Settings {
                name: "Sluice, terminate, state drain",
                balancer_drains: true,
                ..sluice(window)
            },
            Self::HealthcheckFail => healthcheck_fail,
            // The jitter extends the time from the first GOAWAY of a connection to the last one.
            Self::HealthcheckFailJitter => Settings {
                name: "Envoy, /healthcheck/fail, jitter",
                since: (1, 39),
                connection_manager: json!({ "drain_timeout": "5s",
                                            "drain_timeout_jitter": { "value": 100 } }),
                ..healthcheck_fail
            },
            // HAProxy sends connections until the listener closes.
            Self::Listeners => {
                Settings { name: "Envoy, /drain_listeners", ..admin("/drain_listeners?graceful") }
            }
            // Nothing in Envoy stops new connections: the listener stays open and health replies
            // 200. `/healthcheck/fail` would close all connections at once.
            Self::ListenersSkipExit => Settings {
                name: "Envoy, /drain_listeners, skip_exit",
                drain_time: "5",
                balancer_drains: true,
                ..admin("/drain_listeners?graceful&skip_exit")
            },
            // Ages that are common in production, minutes to hours, would make a drain as long.
            Self::MaxConnectionDuration => Settings {
                name: "Envoy, max_connection_duration",
                since: (1, 39),
                connection_manager: json!({
                    "common_http_protocol_options": {
                        "max_connection_duration": "10s",
                        "max_connection_duration_jitter": { "value": 50 } },
                    // Without it, Envoy closes an idle HTTP/1.1 connection, which loses requests.
                    "http1_safe_max_connection_duration": true }),
                waits: true,
                ..without_drain
            },
            Self::None => without_drain,
        }
    }
}
