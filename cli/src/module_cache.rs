//! The folder in which `sluice replay` keeps the machine code of modules.

use std::env;
use std::path::PathBuf;

use sluice_sim::ModuleCache;

#[derive(Debug, clap::Args)]
pub(crate) struct CacheArguments {
    /// Folder for the machine code of modules, which later runs do not compile again [default:
    /// sluice/modules in $XDG_CACHE_HOME or ~/.cache]
    #[arg(long, value_name = "FOLDER")]
    module_cache: Option<PathBuf>,
    /// Compile the module in each run
    #[arg(long, conflicts_with = "module_cache")]
    no_module_cache: bool,
}

impl CacheArguments {
    /// The cache. `None` if it is switched off, or the user has no folder for it.
    pub(crate) fn cache(&self) -> Option<ModuleCache> {
        match &self.module_cache {
            _ if self.no_module_cache => None,
            Some(folder) => Some(ModuleCache::new(folder)),
            None => {
                user_folder().map(|folder| ModuleCache::new(folder.join("sluice").join("modules")))
            }
        }
    }
}

/// The user's folder for caches, as the XDG Base Directory Specification defines it.
fn user_folder() -> Option<PathBuf> {
    let absolute =
        |name| env::var_os(name).map(PathBuf::from).filter(|folder| folder.is_absolute());
    absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))
}
