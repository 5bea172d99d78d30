//! The cache of compiled modules: what it returns, and what it ignores.

use std::fs;
use std::path::{Path, PathBuf};

use sluice_sim::{Limits, Module, ModuleCache, ModuleError};

/// A filter that differs from those with another number.
fn guest(number: u32) -> Vec<u8> {
    wat::parse_str(format!(
        r#"(module
            (memory (export "memory") 1)
            (func (export "proxy_abi_version_0_2_1"))
            (func (export "proxy_on_memory_allocate") (param i32) (result i32)
              i32.const {number}))"#
    ))
    .unwrap()
}

/// An empty folder for the test with this name.
fn empty_folder(test: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("module-cache").join(test);
    let _ = fs::remove_dir_all(&folder);
    folder
}

/// Loads a module through the cache in `folder`. Returns whether it was there.
fn is_cached(folder: &Path, wasm: &[u8]) -> bool {
    let cache = ModuleCache::new(folder);
    Module::with_cache(wasm, &Limits::default(), &cache).unwrap().is_from_cache()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// The file of the only module in the folder.
fn file(folder: &Path) -> PathBuf {
    let [file] = files(folder).try_into().expect("one file");
    file
}

#[test]
fn each_module_is_compiled_once() {
    let folder = empty_folder("once");
    for number in [1, 2] {
        let loads = [(); 3].map(|()| is_cached(&folder, &guest(number)));
        assert_eq!(loads, [false, true, true], "guest {number}");
    }
    assert_eq!(files(&folder).len(), 2);
    assert!(!Module::new(&guest(1), &Limits::default()).unwrap().is_from_cache());
}

#[test]
fn a_cached_module_is_checked_against_the_limits() {
    let folder = empty_folder("limits");
    assert!(!is_cached(&folder, &guest(1)));
    let limits = Limits::default().with_module_bytes(10);
    let error = Module::with_cache(&guest(1), &limits, &ModuleCache::new(&folder)).err();
    assert!(matches!(error, Some(ModuleError::TooLarge { .. })), "{error:?}");
}

#[test]
fn a_damaged_file_is_ignored_and_replaced() {
    let folder = empty_folder("damaged");
    assert!(!is_cached(&folder, &guest(1)));
    let file = file(&folder);
    let whole = fs::read(&file).unwrap();
    let flipped = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        bytes
    };
    let damages = [0, 31, 32, whole.len() / 2, whole.len() - 1].map(flipped).into_iter();
    let cut = [0, 31, 32, whole.len() - 1].map(|length| whole[..length].to_vec());
    for damaged in damages.chain(cut).chain([[&*whole, b"\0"].concat()]) {
        fs::write(&file, &damaged).unwrap();
        let loads = [(); 2].map(|()| is_cached(&folder, &guest(1)));
        assert_eq!(loads, [false, true], "{} bytes", damaged.len());
    }
}

/// Every file is whole, but belongs to another module.
#[test]
fn the_file_of_another_module_is_ignored() {
    let folder = empty_folder("swapped");
    assert!(!is_cached(&folder, &guest(1)));
    let first = file(&folder);
    assert!(!is_cached(&folder, &guest(2)));
    let second = files(&folder).into_iter().find(|file| *file != first).unwrap();
    fs::copy(&second, &first).unwrap();
    assert!(!is_cached(&folder, &guest(1)));
    assert!(is_cached(&folder, &guest(2)));
}

#[cfg(unix)]
#[test]
fn a_file_that_others_can_change_is_ignored() {
    use std::os::unix::fs::{PermissionsExt, chown};
    let folder = empty_folder("foreign");
    assert!(!is_cached(&folder, &guest(1)));
    let path = file(&folder);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&folder), mode(&path)), (0o700, 0o600));
    for mode in [0o620, 0o602] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        assert!(!is_cached(&folder, &guest(1)), "{mode:o}");
    }
    assert!(is_cached(&folder, &guest(1)));
    // Only the superuser can give a file to another user.
    if chown(&path, Some(1), None).is_ok() {
        assert!(!is_cached(&folder, &guest(1)));
    }
}

#[test]
fn a_folder_that_cannot_be_used_does_not_prevent_the_load() {
    let folder = empty_folder("unusable");
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join("file");
    fs::write(&file, "not a folder").unwrap();
    for folder in [&file, &file.join("below"), Path::new("/proc/none")] {
        assert!(!is_cached(folder, &guest(1)));
        assert!(!is_cached(folder, &guest(1)));
    }
}

/// 300 MiB of older modules, of which half stay, and a file of the user.
#[test]
fn the_oldest_modules_are_removed() {
    let folder = empty_folder("old");
    fs::create_dir_all(&folder).unwrap();
    for name in ["module-a", "module-b", "a file of the user"] {
        // A file of zeroes that takes no space.
        fs::File::create(folder.join(name)).unwrap().set_len(150 << 20).unwrap();
    }
    let older = fs::metadata(folder.join("module-b")).unwrap().modified().unwrap()
        - std::time::Duration::from_secs(60);
    fs::File::options()
        .write(true)
        .open(folder.join("module-a"))
        .unwrap()
        .set_modified(older)
        .unwrap();
    assert!(!is_cached(&folder, &guest(1)));
    assert!(is_cached(&folder, &guest(1)));
    let exists =
        ["module-a", "module-b", "a file of the user"].map(|name| folder.join(name).exists());
    assert_eq!(exists, [false, true, true]);
}
