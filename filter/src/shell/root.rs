//! The plugin: takes configurations, ticks, and makes a context for each stream.

use std::rc::Rc;

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{ContextType, LogLevel};

use super::http::Http;
use super::vm::{self, Vm};
use super::watch::{self, Streams};
use super::{admin, host};
use crate::config::{ConfigError, Document, MAX_DOCUMENT, NO_ROUTE, Signal};
use crate::decision::Decisions;
use crate::drain::store::{self, StoreError};
use crate::load::load;
use crate::metrics::{General, RouteSlot};
use crate::rules::{ControlStore, Rules};

/// Warnings of one configuration that are logged; a generated one may have thousands.
const LOGGED_WARNINGS: usize = 20;

/// The pause between ticks that have more to do than one may, in milliseconds.
const HURRY_MS: u64 = 1;

#[derive(Default)]
pub(super) struct Root {
    active: Option<Rc<Active>>,
    /// The number of this context's configuration among those of its VM.
    number: u32,
    streams: Streams,
    /// When it last exchanged with the other workers, in milliseconds since the Unix epoch.
    exchanged_ms: Option<u64>,
    /// It ticks as fast as it can, because more streams are to be ended than one tick may end.
    hurries: bool,
}

/// A configuration in force. Streams keep the one under which they began.
pub(super) struct Active {
    pub(super) config: Rules,
    /// Where the routes count, in their order, and then those without a route.
    slots: Vec<RouteSlot>,
    /// Connections close through the marker header.
    pub(super) marks: bool,
    /// The host asked to be told each decision.
    pub(super) tells: bool,
    /// For the host, or for the access log.
    pub(super) decisions: Option<Decisions>,
    /// The node id of the proxy, where the configuration tells of it.
    pub(super) instance: String,
}

impl Active {
    fn new(config: Rules) -> Self {
        vm::with(|vm| {
            let names = config.routes.iter().map(|route| route.name.as_str()).chain([NO_ROUTE]);
            let slots = names.map(|name| vm.metrics.slot(name)).collect();
            let host = vm.host();
            let marks = match config.drain.as_ref().map(|drain| drain.signal) {
                Some(Signal::Marker) => true,
                Some(Signal::Header) | None => false,
                Some(Signal::Auto) => host.is_envoy,
            };
            let tells = host.asks_decisions;
            let decisions = (tells || config.report.any()).then(|| Decisions::new(&config));
            let named = config.health.is_some() || config.admin().is_some();
            let id = named.then(|| host::property(&["xds", "node", "id"])).flatten();
            let instance = String::from_utf8_lossy(&id.unwrap_or_default()).into_owned();
            Self { slots, marks, tells, decisions, instance, config }
        })
    }

    pub(super) fn slot(&self, route: Option<usize>) -> RouteSlot {
        self.slots[route.unwrap_or(self.slots.len() - 1)]
    }
}

impl Root {
    fn read(size: usize) -> Result<Rules, ConfigError> {
        // Too large a document is not even copied: the module would keep that memory for ever.
        let loaded = match size {
            0..=MAX_DOCUMENT => load(&host::configuration(size))?,
            _ => return Err(Document::too_large(size)),
        };
        for warning in loaded.warnings.iter().take(LOGGED_WARNINGS) {
            host::log(LogLevel::Warn, &format!("configuration: {warning}"));
        }
        Ok(loaded.rules)
    }
}

impl Root {
    fn accept(&mut self, config: Rules) {
        let active = Active::new(config);
        let config = &active.config;
        host::tick_every(config.tick_period().as_millis());
        self.hurries = false;
        self.streams.borrow_mut().ticks_every(config.tick_period(), host::now_ms());
        vm::with(|vm| {
            vm.stores.ended(self.number);
            self.number = vm.stores.configured(config.control_store().is_some());
            vm.poller.interrupted();
            if config.drain.is_some() {
                vm.look(config);
            }
            if let Some(state) = config.drain.as_ref().and_then(|drain| drain.state.as_ref()) {
                vm.configured(state, config);
            }
        });
        self.active = Some(Rc::new(active));
    }

    /// Whether a refresh has passed, as closely as a tick can tell.
    fn is_to_exchange(&mut self, now: Option<u64>) -> bool {
        if let (Some(active), Some(now), Some(before)) = (&self.active, now, self.exchanged_ms) {
            let tick = active.config.tick_period().as_millis();
            if now.abs_diff(before) + tick / 2 < active.config.refresh().as_millis() {
                return false;
            }
        }
        self.exchanged_ms = now;
        true
    }

    /// Exchanges with the other workers and the host what changed since the last time.
    fn exchange(&self) {
        vm::with(|vm| {
            let Some(active) = &self.active else { return vm.flush() };
            if active.config.drain.is_some() {
                vm.look(&active.config);
            }
            let leads = vm.attend(active.config.refresh().as_millis()).leads;
            if let Some((config, control)) = self.store(vm)
                && leads
            {
                vm.poll(control, config);
            }
            vm.flush();
        });
    }

    /// The store that this context asks, while it is the one to ask.
    fn store(&self, vm: &Vm) -> Option<(&Rules, &ControlStore)> {
        let config = &self.active.as_ref()?.config;
        let control = config.control_store().filter(|_| vm.stores.asks(self.number))?;
        Some((config, control))
    }
}

impl Context for Root {
    fn on_http_call_response(&mut self, _: u32, headers: usize, size: usize, _: usize) {
        vm::with(|vm| {
            // What a replaced configuration asked for is no longer wanted.
            let Some((config, control)) = self.store(vm) else { return };
            let answer = match size {
                // An answer that broke off arrives as nothing at all, and there is nothing to ask the host for.
                _ if headers == 0 => Err(StoreError::BrokenOff),
                0..=store::MAX_ANSWER => {
                    let (status, body) = host::answer(size);
                    store::answer(control.format, status, &body)
                }
                _ => Err(StoreError::TooLarge(size)),
            };
            vm.heard(answer, control, config);
        });
    }

    fn on_done(&mut self) -> bool {
        vm::with(|vm| {
            vm.stores.ended(self.number);
            vm.flush();
        });
        true
    }
}

impl RootContext for Root {
    fn on_configure(&mut self, size: usize) -> bool {
        match Self::read(size) {
            Ok(config) => {
                self.accept(config);
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
        let now = host::now_ms();
        if self.is_to_exchange(now) {
            self.exchange();
            admin::give_up_waiting();
        }
        let hurries = watch::tick(&self.streams, now);
        if std::mem::replace(&mut self.hurries, hurries) != hurries
            && let Some(active) = &self.active
        {
            host::tick_every(if hurries {
                HURRY_MS
            } else {
                active.config.tick_period().as_millis()
            });
        }
    }

    fn create_http_context(&self, id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Http::new(self.active.clone(), id, Rc::clone(&self.streams))))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}
