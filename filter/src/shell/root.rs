//! The plugin: takes configurations, ticks, and makes a context for each stream.

use std::rc::Rc;

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{ContextType, LogLevel};

use super::host;
use super::http::Http;
use super::vm;
use crate::config::spec::Signal;
use crate::config::{Config, ConfigError, MAX_DOCUMENT, NO_ROUTE};
use crate::decision::Decisions;
use crate::metrics::{General, RouteSlot};

/// Warnings of one configuration that are logged; a generated one may have thousands.
const LOGGED_WARNINGS: usize = 20;

#[derive(Default)]
pub(super) struct Root {
    active: Option<Rc<Active>>,
}

/// A configuration in force. Streams keep the one under which they began.
pub(super) struct Active {
    pub(super) config: Config,
    /// Where the routes count, in their order, and then those without a route.
    slots: Vec<RouteSlot>,
    /// Connections close through the marker header.
    pub(super) marks: bool,
    /// For a host that asked to be told.
    pub(super) decisions: Option<Decisions>,
    /// The node id of the proxy, for the health answer.
    pub(super) instance: String,
}

impl Active {
    fn new(config: Config) -> Self {
        vm::with(|vm| {
            let names = config.routes.iter().map(|route| route.name.as_str()).chain([NO_ROUTE]);
            let slots = names.map(|name| vm.metrics.slot(name)).collect();
            let host = vm.host();
            let marks = match config.drain.as_ref().map(|drain| drain.signal) {
                Some(Signal::Marker) => true,
                Some(Signal::Header) | None => false,
                Some(Signal::Auto) => host.is_envoy,
            };
            let decisions = host.asks_decisions.then(|| Decisions::new(&config));
            let id = config.health.as_ref().and_then(|_| host::property(&["xds", "node", "id"]));
            let instance = String::from_utf8_lossy(&id.unwrap_or_default()).into_owned();
            Self { slots, marks, decisions, instance, config }
        })
    }

    pub(super) fn slot(&self, route: Option<usize>) -> RouteSlot {
        self.slots[route.unwrap_or(self.slots.len() - 1)]
    }
}

impl Root {
    fn read(size: usize) -> Result<Config, ConfigError> {
        // Too large a document is not even copied: the module would keep that memory for ever.
        let parsed = match size {
            0..=MAX_DOCUMENT => Config::parse(&host::configuration(size))?,
            _ => return Err(Config::too_large(size)),
        };
        for warning in parsed.warnings.iter().take(LOGGED_WARNINGS) {
            host::log(LogLevel::Warn, &format!("configuration: {warning}"));
        }
        Ok(parsed.config)
    }
}

impl Context for Root {
    fn on_done(&mut self) -> bool {
        vm::with(vm::Vm::flush);
        true
    }
}

impl RootContext for Root {
    fn on_configure(&mut self, size: usize) -> bool {
        match Self::read(size) {
            Ok(config) => {
                let active = Active::new(config);
                host::tick_every(active.config.tick().as_millis());
                if let Some(drain) = &active.config.drain {
                    vm::with(|vm| vm.look(drain.state.as_ref()));
                }
                self.active = Some(Rc::new(active));
                true
            }
            Err(error) => {
                host::log(LogLevel::Error, &format!("configuration refused, {error}"));
                vm::with(|vm| {
                    vm.metrics.add(General::ConfigRejected, 1);
                    vm.flush();
                });
                false
            }
        }
    }

    fn on_tick(&mut self) {
        vm::with(|vm| {
            if self.active.as_ref().is_some_and(|active| active.config.drain.is_some()) {
                vm.look(None);
            }
            vm.flush();
        });
    }

    fn create_http_context(&self, _: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Http::new(self.active.clone())))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}
