//! The simulation that `sluice replay` and `sluice diff` run: the module of the filter, the proxy
//! around it, and the limits of both.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum;
use sluice_sim::proxy::Setup;
use sluice_sim::replay::{Interrupt, Options};
use sluice_sim::trace::parse_time;
use sluice_sim::{Module, Profile, Properties};

use crate::error::CliError;
use crate::files;
use crate::filter_module::{self, FilterModule};
use crate::module_cache::CacheArguments;
use crate::replay_limits::LimitArguments;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Module of the filter [default: the file in SLUICE_WASM, else target/sluice_filter.wasm in
    /// this folder or above, else the one in this program]
    #[arg(long, value_name = "FILE")]
    wasm: Option<PathBuf>,
    /// Proxy to simulate
    #[arg(long, value_enum, default_value_t = ProfileName::Envoy)]
    profile: ProfileName,
    /// Proxy, plugin and clusters to simulate (JSON); replaces what a trace describes
    #[arg(long, value_name = "FILE")]
    proxy: Option<PathBuf>,
    /// Simulate Envoy's plugin option of the same name; the admin path needs it to read a request
    /// body
    #[arg(long)]
    allow_on_headers_stop_iteration: bool,
    /// Number of worker threads of the simulated proxy; each runs its own VM
    #[arg(long, value_name = "N", default_value = "2")]
    workers: NonZeroU32,
    /// Seed for random choices, such as the worker of a new connection
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Time of the simulated proxy's clock at the start of each trace [default:
    /// 2026-01-01T00:00:00Z]
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    start_time: Option<Duration>,
    #[command(flatten)]
    cache: CacheArguments,
    #[command(flatten)]
    limits: LimitArguments,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ProfileName {
    /// Envoy with the drain bridge
    Envoy,
    /// A proxy that follows the proxy-wasm ABI and nothing else
    Generic,
}

impl Arguments {
    /// The files that the simulation reads.
    pub(crate) fn files(&self) -> impl Iterator<Item = &Path> {
        self.wasm.iter().chain(&self.proxy).map(PathBuf::as_path)
    }

    /// Whether the user named a module, which may not be the filter.
    pub(crate) fn names_module(&self) -> bool {
        self.wasm.is_some() || filter_module::from_environment().is_some()
    }

    /// Starts the time of `--max-time`, if there is one.
    pub(crate) fn start_timer(&self) -> Option<Interrupt> {
        self.limits.start_timer()
    }

    /// The options of a replay without a configuration.
    pub(crate) fn options(&self) -> Result<Options, CliError> {
        let profile = match self.profile {
            ProfileName::Envoy => Profile::Envoy,
            ProfileName::Generic => Profile::Generic,
        };
        // The filter recognizes Envoy by the first property, and its health response names the
        // second.
        let properties = match profile.rules().user_agent_name {
            Some(name) => Properties::new()
                .with(&["xds", "node", "user_agent_name"], name)
                .with(&["xds", "node", "id"], "simulator"),
            None => Properties::new(),
        };
        let mut setup = self.proxy.as_deref().map(setup).transpose()?.unwrap_or_default();
        setup.start_time = self.start_time.or(setup.start_time);
        Ok(Options::new(profile)
            .with_setup(setup)
            .with_workers(self.workers)
            .with_seed(self.seed)
            .with_plugin_name("sluice")
            .with_vm_id("sluice")
            .with_allow_on_headers_stop_iteration(self.allow_on_headers_stop_iteration)
            .with_properties(properties)
            .with_drain_bridge(sluice_filter::reserved_headers::MARKER, "close")
            .with_decision_function(sluice_filter::decision::FUNCTION)
            .with_limits(self.limits.limits())
            .with_max_instructions(self.limits.max_instructions))
    }

    /// The module of `--wasm`, or the filter.
    pub(crate) fn module(&self) -> Result<Module, CliError> {
        self.compile(FilterModule::find(self.wasm.as_deref())?)
    }

    /// Compiles a module, or reads its machine code from the cache.
    pub(crate) fn compile(&self, module: FilterModule) -> Result<Module, CliError> {
        let limits = self.limits.limits();
        let FilterModule { file, wasm } = module;
        let module = match self.cache.cache() {
            Some(cache) => Module::with_cache(&wasm, &limits, &cache),
            None => Module::new(&wasm, &limits),
        };
        module.map_err(|source| CliError::Module { file, source })
    }
}

/// Reads the file of `--proxy`.
fn setup(path: &Path) -> Result<Setup, CliError> {
    let text = files::read_text(path)?;
    Setup::parse(&text).map_err(|source| CliError::Setup { file: path.to_owned(), source })
}
