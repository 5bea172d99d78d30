//! The machine code that `sluice replay` keeps between runs. A run that compiles a module writes its
//! file, so the number of runs that compiled is visible.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sluice_test_kit::program::{finish, module, sluice};

const TRACE: &str = "tests/traces/tour.jsonl";
const CONFIGURATION: &str = "tests/traces/tour.config.json";

/// Replays a trace with these options and environment variables. It must pass.
fn replay(options: &[&str], environment: &[(&str, Option<&Path>)]) -> String {
    let module = module().to_str().expect("UTF-8");
    let arguments = ["replay", "--wasm", module, "--config", CONFIGURATION, TRACE];
    let mut command = sluice(arguments);
    command.args(options);
    for (name, value) in environment {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let run = finish(command);
    assert_eq!((run.status, run.stderr.as_str()), (0, ""));
    run.stdout
}

/// The files below a folder, with the time at which each was written.
fn files(folder: &Path) -> Vec<(PathBuf, SystemTime)> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let entries = entries.map(|entry| entry.expect("an entry").path());
    entries
        .flat_map(|path| match path.is_dir() {
            true => files(&path),
            false => {
                let written = fs::metadata(&path).and_then(|file| file.modified());
                vec![(path, written.expect("a time"))]
            }
        })
        .collect()
}

#[test]
fn the_second_run_does_not_compile_and_reports_the_same() {
    let folder = tempfile::tempdir().expect("a folder");
    let (cache, home) = (folder.path().join("cache"), folder.path().join("home"));
    for (environment, place) in [
        ([("XDG_CACHE_HOME", Some(&*cache)), ("HOME", None)], cache.join("sluice/modules")),
        ([("XDG_CACHE_HOME", None), ("HOME", Some(&*home))], home.join(".cache/sluice/modules")),
    ] {
        let first = replay(&[], &environment);
        let written = files(folder.path());
        assert_eq!(files(&place).len(), 1);
        assert_eq!(replay(&[], &environment), first);
        assert_eq!(files(folder.path()), written, "the second run compiled the module");
    }
}

#[test]
fn the_cache_has_a_folder_of_choice_or_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let (chosen, home) = (folder.path().join("chosen"), folder.path().join("home"));
    let environment = [("XDG_CACHE_HOME", Some(&*home))];
    replay(&["--no-module-cache"], &environment);
    assert_eq!(files(folder.path()), []);
    replay(&["--module-cache", chosen.to_str().expect("UTF-8")], &environment);
    assert_eq!((files(&chosen).len(), files(folder.path()).len()), (1, 1));
}

#[test]
fn a_replay_needs_no_cache() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    fs::write(&file, "not a folder").expect("a file");
    for (cache, home) in [
        (None, None),
        // An empty or relative path does not count.
        (Some(Path::new("")), Some(Path::new("home"))),
        (Some(&*file), None),
        (Some(Path::new("/dev/null")), None),
    ] {
        replay(&[], &[("XDG_CACHE_HOME", cache), ("HOME", home)]);
    }
    assert_eq!(files(folder.path()).len(), 1);
}
