//! A real Envoy under test, and everything that may happen to its process.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{scope, sleep};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::configuration::{bootstrap, configuration};
use super::fault::proxy_name;
use super::keeper::Keeper;
use super::plan::ProxyPlan;
use super::probe;
use crate::envoy::{Envoy, Predecessor};
use crate::{reusable_port, root};

/// The length of Envoy's own drains. All requests of the clients end within it, also if the process
/// is suspended meanwhile.
const DRAIN_SECONDS: &str = "30";

/// How long the predecessor of a hot restart runs.
const PREDECESSOR_SECONDS: &str = "36";

/// How often a thread that waits for a process looks at it.
const STEP: Duration = Duration::from_millis(100);

/// The lines of a log that are printed.
const LOG_LINES: usize = 40;

const FILTER_FILE: &str = "filter.yaml";
const LISTENER_FILE: &str = "listener.yaml";

/// A proxy under test.
#[derive(Debug)]
pub(super) struct Proxy {
    pub(super) index: usize,
    pub(super) plan: ProxyPlan,
    /// The port for clients.
    pub(super) port: u16,
    /// The admin port and the id of the current process.
    admin: AtomicU16,
    process: AtomicU32,
    running: Arc<Mutex<Running>>,
    keeper: Keeper,
}

#[derive(Debug)]
struct Running {
    envoy: Envoy,
    predecessor: Option<Predecessor>,
    /// `drain.state` of the last push.
    state: Option<Value>,
    module: PathBuf,
    /// The number of pushes, modules and listeners so far.
    pushes: u64,
    modules: u32,
    listeners: u32,
}

impl Proxy {
    /// Starts the proxy.
    ///
    /// # Panics
    /// If Envoy does not start, or the module that crashes on request was not built.
    pub(super) fn start(index: usize, plan: ProxyPlan, upstream: u16, store: u16) -> Self {
        let module = root().join("target/sluice_filter.crash.wasm");
        assert!(module.is_file(), "no {}: run `cargo xtask chaos`", module.display());
        let port = reusable_port();
        let bootstrap = bootstrap(index, port, upstream, store)
            .configured(&configuration(plan.refresh, 0, None))
            .changed("filename", |name| *name = json!(module));
        let options = [
            ["--drain-time-s", DRAIN_SECONDS],
            ["--parent-shutdown-time-s", PREDECESSOR_SECONDS],
            ["--drain-strategy", "immediate"],
        ];
        let keeper = Keeper::start();
        let start = move || Envoy::start_with_options(bootstrap, plan.workers, &options.concat());
        let envoy = keeper.run(start);
        let (admin, process) = (envoy.admin.into(), envoy.process().into());
        let running = Running {
            envoy,
            predecessor: None,
            state: None,
            module,
            pushes: 0,
            modules: 0,
            listeners: 0,
        };
        let running = Arc::new(Mutex::new(running));
        Self { index, plan, port, admin, process, running, keeper }
    }

    pub(super) fn name(&self) -> char {
        proxy_name(self.index)
    }

    /// The admin port of the current process.
    pub(super) fn admin(&self) -> u16 {
        self.admin.load(Ordering::Relaxed)
    }

    /// The id of the current process.
    pub(super) fn process(&self) -> u32 {
        self.process.load(Ordering::Relaxed)
    }

    /// Pushes a configuration with this drain.
    pub(super) fn push_drain(&self, state: &Value, with_module: bool) {
        let mut running = self.running();
        running.state = Some(state.clone());
        if with_module {
            running.modules += 1;
            let name = format!("module-{}.wasm", running.modules);
            let next = running.envoy.folder().join(name);
            write_variant(&running.module, &next, running.modules);
            running.module = next;
        }
        running.push(self.plan.refresh);
    }

    /// Pushes a configuration with the same drain again.
    pub(super) fn push(&self) {
        self.running().push(self.plan.refresh);
    }

    /// Makes VMs crash: one, or most likely that of each worker.
    pub(super) fn crash(&self, all: bool) {
        let requests = if all { 4 * self.plan.workers } else { 1 };
        scope(|scope| {
            for _ in 0..requests {
                // A crash is the intended failure.
                scope.spawn(|| probe::request(self.port, "GET", "/", "x-crash: now\r\n"));
            }
        });
    }

    /// Changes the listener or only its filter chain. Envoy drains the connections of the previous
    /// one.
    pub(super) fn update_listener(&self, whole: bool) {
        let mut running = self.running();
        running.listeners += 1;
        let number = running.listeners;
        running.envoy.replace(LISTENER_FILE, "resources", |resources| {
            let listener = &mut resources[0];
            if whole {
                listener["per_connection_buffer_limit_bytes"] = json!(1_048_576 + number);
            } else {
                let manager = &mut listener["filter_chains"][0]["filters"][0]["typed_config"];
                manager["max_request_headers_kb"] = json!(60 + number % 30);
            }
        });
    }

    /// Makes Envoy drain all listeners without closing them. The process drains until it ends.
    pub(super) fn drain_listeners(&self) {
        self.running().envoy.admin_post("/drain_listeners?graceful&skip_exit");
    }

    /// Replaces the process by a hot restart, after the end of an earlier predecessor. Returns the
    /// value of `now` before the start of the next process.
    pub(super) fn hot_restart<T>(&self, now: impl FnOnce() -> T) -> T {
        while self.has_predecessor() {
            sleep(STEP);
        }
        let begin = now();
        let running = self.running.clone();
        let (admin, process) = self.keeper.run(move || {
            let mut running = running.lock().unwrap_or_else(PoisonError::into_inner);
            running.predecessor = Some(running.envoy.hot_restart());
            (running.envoy.admin, running.envoy.process())
        });
        self.admin.store(admin, Ordering::Relaxed);
        self.process.store(process, Ordering::Relaxed);
        begin
    }

    fn has_predecessor(&self) -> bool {
        self.running().predecessor.as_mut().is_some_and(|predecessor| !predecessor.has_ended())
    }

    /// Suspends the process for this time.
    pub(super) fn suspend(&self, time: Duration) {
        let process = i32::try_from(self.process()).ok().and_then(Pid::from_raw);
        let process = process.expect("the id of a process");
        kill_process(process, Signal::STOP).expect("a process that runs");
        sleep(time);
        kill_process(process, Signal::CONT).expect("a process that was suspended");
    }

    /// The counters of rejected pushes that are not zero.
    pub(super) fn rejected_pushes(&self) -> Vec<String> {
        let counters = ["config_fail", "update_rejected"].map(|name| {
            let name = format!("extension_config_discovery.http_filter.sluice.{name}");
            let value = probe::metric(self.admin(), &name).unwrap_or(0);
            (value > 0).then(|| format!("{name} of {} is {value}", self.name()))
        });
        counters.into_iter().flatten().collect()
    }

    /// The last lines of the log.
    pub(super) fn log_end(&self) -> String {
        let log = self.running().envoy.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running {
    fn push(&mut self, refresh: Duration) {
        self.pushes += 1;
        let configuration = configuration(refresh, self.pushes, self.state.as_ref());
        let module = json!(self.module);
        self.envoy.replace(FILTER_FILE, "config", |config| {
            config["vm_config"]["code"]["local"]["filename"] = module.clone();
            config["configuration"]["value"] = json!(configuration.to_string());
        });
    }
}

/// Writes a copy of a module with one more custom section, which Envoy treats as another module.
fn write_variant(module: &Path, to: &Path, number: u32) {
    let mut bytes = fs::read(module).expect("a module");
    // A custom section: id 0, its length, the length of its name, its name, its contents.
    bytes.extend_from_slice(&[0, 10, 5]);
    bytes.extend_from_slice(b"chaos");
    bytes.extend_from_slice(&number.to_le_bytes());
    fs::write(to, bytes).expect("a temporary folder");
}
