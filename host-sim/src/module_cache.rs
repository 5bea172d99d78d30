//! Keeps the machine code of modules in a folder, because a compilation takes longer than most
//! replays.
//!
//! Machine code runs without any further check, so a file is used only if this user has written it,
//! nobody else can change it, and its hash shows that it is whole. Everything else in the folder is
//! ignored. If the folder cannot be used, modules are compiled as without a cache.

use std::fs::{self, File, OpenOptions};
use std::hash::{Hash, Hasher};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sha2::{Digest, Sha256};
use wasmtime::{Engine, Module};

/// The bytes of all modules. Beyond it, the oldest are removed.
const MAX_BYTES: u64 = 256 << 20;

/// The names of the files begin with it.
const PREFIX: &str = "module-";

/// The bytes of the hash at the start of a file.
const HASH: usize = 32;

/// A folder with the machine code of modules, for
/// [`Module::with_cache`](crate::Module::with_cache). Several programs can use it at the same time.
///
/// On systems other than Unix it has no effect, because the owner of a file is not checked there.
#[derive(Clone, Debug)]
pub struct ModuleCache {
    folder: PathBuf,
}

impl ModuleCache {
    /// A cache in `folder`, which the first module creates. The oldest modules are removed when all
    /// of them have more than 256 MiB. Other files in the folder are left alone.
    pub fn new(folder: impl Into<PathBuf>) -> ModuleCache {
        ModuleCache { folder: folder.into() }
    }

    /// The machine code of `wasm`, and whether the cache had it.
    pub(crate) fn load_or_compile(
        &self,
        engine: &Engine,
        wasm: &[u8],
    ) -> wasmtime::Result<(Module, bool)> {
        let key = Key::of(engine, wasm);
        if let Some(module) = self.load(engine, &key) {
            return Ok((module, true));
        }
        let module = Module::new(engine, wasm)?;
        let code = module.serialize()?;
        // Without success, the next run compiles the module again.
        let _ = self.write(&key, &code).and_then(|()| self.remove_old_modules());
        Ok((module, false))
    }

    fn load(&self, engine: &Engine, key: &Key) -> Option<Module> {
        let mut file = File::open(self.path(key)).ok()?;
        if !is_trusted(&file) {
            return None;
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).ok()?;
        let (hash, code) = bytes.split_first_chunk::<HASH>()?;
        match *hash == key.hash(code) {
            true => deserialize(engine, code),
            false => None,
        }
    }

    fn path(&self, key: &Key) -> PathBuf {
        let digits = key.0.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        self.folder.join(format!("{PREFIX}{digits}"))
    }

    /// Writes a file that appears when it is complete.
    fn write(&self, key: &Key, code: &[u8]) -> io::Result<()> {
        create_folder(&self.folder)?;
        let path = self.path(key);
        let temporary = path.with_extension(std::process::id().to_string());
        let mut file = create_file(&temporary)?;
        let written = file.write_all(&key.hash(code)).and_then(|()| file.write_all(code));
        let written = written.and_then(|()| fs::rename(&temporary, &path));
        if written.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        written
    }

    fn remove_old_modules(&self) -> io::Result<()> {
        let mut modules: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(PREFIX) {
                let file = entry.metadata()?;
                modules.push((file.modified()?, file.len(), entry.path()));
            }
        }
        modules.sort_by(|a, b| b.cmp(a));
        let mut bytes = 0;
        for (_, length, path) in modules {
            bytes += length;
            if bytes > MAX_BYTES {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }
}

/// A hash of the module, and of all that its machine code depends on.
struct Key([u8; HASH]);

impl Key {
    fn of(engine: &Engine, wasm: &[u8]) -> Key {
        let mut settings = Settings(Sha256::new());
        engine.precompile_compatibility_hash().hash(&mut settings);
        Key(settings.0.chain_update(wasm).finalize().into())
    }

    /// The hash that a file with this key and `code` has.
    fn hash(&self, code: &[u8]) -> [u8; HASH] {
        Sha256::new().chain_update(self.0).chain_update(code).finalize().into()
    }
}

/// Hashes the settings of an engine with all bits of the digest.
struct Settings(Sha256);

impl Hasher for Settings {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let digest: [u8; HASH] = self.0.clone().finalize().into();
        digest.iter().fold(0, |hash, byte| hash << 8 | u64::from(*byte))
    }
}

#[expect(unsafe_code, reason = "wasmtime cannot check machine code")]
fn deserialize(engine: &Engine, code: &[u8]) -> Option<Module> {
    // SAFETY: the bytes must come from `Module::serialize`, unchanged. The file that has them is
    // owned by this user and not writable for others, so only a program of this user has written
    // it. `write` creates such files, and the hash of the key and the code excludes damage and other
    // files. wasmtime itself rejects code of other versions and settings.
    unsafe { Module::deserialize(engine, code) }.ok()
}

/// Whether this user owns the file, and no other user can write to it.
#[cfg(unix)]
fn is_trusted(file: &File) -> bool {
    use std::os::unix::fs::MetadataExt;
    file.metadata().is_ok_and(|file| {
        let own = file.uid() == rustix::process::geteuid().as_raw();
        file.is_file() && own && file.mode() & 0o022 == 0
    })
}

#[cfg(not(unix))]
fn is_trusted(_: &File) -> bool {
    false
}

/// Creates a folder that only this user can read.
fn create_folder(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(path)
}

/// Creates a file that only this user can read and write.
fn create_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.write(true).create_new(true).open(path)
}
