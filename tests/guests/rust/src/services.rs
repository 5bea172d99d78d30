//! Ticks, shared data, queues, metrics, properties, clocks and logs.

use std::cell::Cell;
use std::time::{Duration, UNIX_EPOCH};

use proxy_wasm::hostcalls;
use proxy_wasm::types::{Action, BufferType, LogLevel, MapType, MetricType};

use crate::raw;
use crate::text::{header, hexadecimal, result, say, text, value, word};

thread_local! {
    /// The stream that waits for ticks, and the ticks so far.
    static WAITING: Cell<Option<(u32, u32)>> = const { Cell::new(None) };
}

pub(crate) fn tick_request(stream: u32) -> Action {
    WAITING.set(Some((stream, 0)));
    let set = hostcalls::set_tick_period(Duration::from_millis(20));
    say("tick", &format!("period {}", result(&set)));
    Action::Pause
}

pub(crate) fn tick() {
    let Some((stream, ticks)) = WAITING.get() else { return };
    let ticks = ticks + 1;
    WAITING.set(Some((stream, ticks)));
    say("tick", &ticks.to_string());
    if ticks < 3 {
        return;
    }
    WAITING.set(None);
    let _ = hostcalls::set_tick_period(Duration::ZERO);
    let other = hostcalls::set_effective_context(0x7fff_ffff);
    say("tick", &format!("other context {}", result(&other)));
    let own = hostcalls::set_effective_context(stream);
    say("tick", &format!("context {}", result(&own)));
    let _ = hostcalls::set_map_value(MapType::HttpRequestHeaders, "x-ticks", Some("3"));
    say("tick", &format!("continue {}", result(&hostcalls::resume_http_request())));
}

const KEY: &str = "guest.key";

fn shared_get() -> Option<u32> {
    let (bytes, cas) = hostcalls::get_shared_data(KEY).unwrap_or_default();
    let word = if cas.is_some() { "ok" } else { "not found" };
    say("shared-data", &format!("get {word} '{}'", text(bytes)));
    cas
}

fn shared_set(text: &str, cas: Option<u32>) {
    let set = hostcalls::set_shared_data(KEY, Some(text.as_bytes()), cas);
    say("shared-data", &format!("set '{text}' {}", result(&set)));
}

pub(crate) fn shared_data() -> Action {
    shared_get();
    shared_set("one", None);
    let cas = shared_get();
    shared_set("two", cas);
    shared_set("three", cas);
    shared_get();
    shared_set("", None);
    shared_get();
    Action::Continue
}

pub(crate) fn queue() -> Action {
    let vm = value(raw::property("plugin_vm_id"));
    let registered = hostcalls::register_shared_queue("jobs");
    say("queue", &format!("register {}", result(&registered)));
    let queue = registered.unwrap_or_default();
    let resolve = |name| hostcalls::resolve_shared_queue(&vm, name).ok().flatten();
    let word = match resolve("jobs") {
        Some(found) if found == queue => "ok same",
        Some(_) => "ok other",
        None => "not found",
    };
    say("queue", &format!("resolve {word}"));
    let word = if resolve("none").is_some() { "ok" } else { "not found" };
    say("queue", &format!("resolve {word}"));
    for (queue, text) in [(queue, "first"), (queue + 999, "x")] {
        let put = hostcalls::enqueue_shared_queue(queue, Some(text.as_bytes()));
        say("queue", &format!("enqueue {}", result(&put)));
    }
    Action::Continue
}

fn dequeue(queue: u32) {
    let (word, bytes) = match hostcalls::dequeue_shared_queue(queue) {
        Ok(Some(bytes)) => ("ok", Some(bytes)),
        Ok(None) => ("empty", None),
        Err(status) => (word(status as u32), None),
    };
    say("queue", &format!("dequeue {word} '{}'", text(bytes)));
}

pub(crate) fn queue_ready(queue: u32) {
    say("queue", "ready");
    dequeue(queue);
    dequeue(queue);
    dequeue(queue + 999);
}

fn define(kind: MetricType, name: &str) -> u32 {
    let metric = hostcalls::define_metric(kind, name);
    say("metrics", &format!("define {}", result(&metric)));
    metric.unwrap_or_default()
}

fn get_metric(metric: u32) {
    match raw::get_metric(metric) {
        Ok(value) => say("metrics", &format!("get ok {value}")),
        Err(status) => say("metrics", &format!("get {} 0", word(status))),
    }
}

pub(crate) fn metrics() -> Action {
    let counter = define(MetricType::Counter, "guest_counter");
    let gauge = define(MetricType::Gauge, "guest_gauge");
    let histogram = define(MetricType::Histogram, "guest_histogram");
    let record = |metric, value| {
        say("metrics", &format!("record {}", word(raw::record_metric(metric, value))));
    };
    let increment = |metric, offset| {
        say("metrics", &format!("increment {}", word(raw::increment_metric(metric, offset))));
    };
    increment(counter, 3);
    increment(counter, -1);
    get_metric(counter);
    record(counter, 9);
    get_metric(counter);
    record(gauge, 7);
    increment(gauge, -2);
    get_metric(gauge);
    record(histogram, 5);
    increment(histogram, 1);
    get_metric(histogram);
    get_metric(999_999);
    get_metric(4000);
    let again = define(MetricType::Counter, "guest_counter");
    say("metrics", if again == counter { "again same" } else { "again other" });
    Action::Continue
}

fn show(path: &str) {
    say("properties", &format!("{path}={}", value(raw::property(path))));
}

pub(crate) fn properties_request() -> Action {
    for path in [
        "request.path",
        "request.url_path",
        "request.method",
        "request.host",
        "request.scheme",
        "request.protocol",
        "request.query",
        "request.useragent",
        "request.headers.x-in",
        "request.headers.x-none",
        "plugin_name",
        "plugin_root_id",
        "xds.cluster_name",
        "xds.route_name",
        "response.code",
        "no.such",
    ] {
        show(path);
    }
    let set = hostcalls::set_property(vec!["guest", "mark"], Some(b"here"));
    say("properties", &format!("set {}", result(&set)));
    show("guest.mark");
    let (word, size) = match raw::property("connection.id") {
        Ok(bytes) => ("ok", bytes.len()),
        Err(status) => (word(status), 0),
    };
    say("properties", &format!("connection.id {word}, {size} bytes"));
    Action::Continue
}

pub(crate) fn properties_response() -> Action {
    let (word, bytes) = match raw::property("response.code") {
        Ok(bytes) => ("ok", bytes),
        Err(status) => (word(status), Vec::new()),
    };
    say("properties", &format!("response.code {word} {}", hexadecimal(&bytes)));
    show("request.path");
    show("guest.mark");
    Action::Continue
}

pub(crate) fn clock() -> Action {
    let host = hostcalls::get_current_time();
    let word = result(&host);
    let host = host.ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    let sign = |is_zero| if is_zero { "zero" } else { "positive" };
    say("clock", &format!("host {word} {}", sign(host.is_zero())));
    let is_equal = wasi::wall_clock().as_secs().abs_diff(host.as_secs()) <= 1;
    say("clock", &format!("wall {}", if is_equal { "equal" } else { "different" }));
    say("clock", &format!("monotonic {}", sign(!wasi::has_monotonic_clock())));
    Action::Continue
}

pub(crate) fn log() -> Action {
    for (level, text) in [
        (LogLevel::Trace, "trace"),
        (LogLevel::Debug, "debug"),
        (LogLevel::Info, "info"),
        (LogLevel::Warn, "warn"),
        (LogLevel::Error, "error"),
        (LogLevel::Critical, "critical"),
    ] {
        crate::log(level, &format!("log: {text}"));
    }
    let level = hostcalls::get_log_level();
    let word = result(&level);
    say("log", &format!("level {word} {}", level.map_or(99, |level| level as u32)));
    // One call of `fd_write` is one line of the log.
    wasi::print_error("log: stderr\n");
    wasi::print("log: stdout\n");
    Action::Continue
}

pub(crate) fn foreign() -> Action {
    let result = hostcalls::call_foreign_function("no_such", None);
    say("foreign", &format!("no_such {}", self::result(&result)));
    Action::Continue
}

pub(crate) fn phase() -> Action {
    let response = header(MapType::HttpResponseHeaders, ":status");
    say("phase", &format!("response header {response}"));
    let buffer = |buffer| value(raw::buffer(buffer, 0, 1));
    say("phase", &format!("response body {}", buffer(BufferType::HttpResponseBody)));
    say("phase", &format!("request body {}", buffer(BufferType::HttpRequestBody)));
    let call = header(MapType::HttpCallResponseHeaders, ":status");
    say("phase", &format!("call header {call}"));
    say("phase", &format!("call body {}", buffer(BufferType::HttpCallResponseBody)));
    let added = raw::add_header(MapType::HttpResponseHeaders, "x-early", "1");
    say("phase", &format!("add {}", word(added)));
    Action::Continue
}

/// The clocks and streams of the standard library.
#[cfg(target_os = "wasi")]
mod wasi {
    use std::io::Write;
    use std::time::{Duration, Instant, SystemTime};

    pub(super) fn wall_clock() -> Duration {
        SystemTime::now().duration_since(super::UNIX_EPOCH).unwrap_or_default()
    }

    pub(super) fn has_monotonic_clock() -> bool {
        let begin = Instant::now();
        begin.elapsed() < Duration::from_secs(60)
    }

    pub(super) fn print_error(text: &str) {
        let _ = std::io::stderr().write_all(text.as_bytes());
    }

    pub(super) fn print(text: &str) {
        let _ = std::io::stdout().write_all(text.as_bytes());
    }
}

/// The same without a standard library that has WASI.
#[cfg(not(target_os = "wasi"))]
mod wasi {
    use std::time::Duration;

    #[link(wasm_import_module = "wasi_snapshot_preview1")]
    unsafe extern "C" {
        fn clock_time_get(clock: u32, precision: u64, time: *mut u64) -> u32;
        fn fd_write(file: u32, parts: *const Part, count: usize, written: *mut usize) -> u32;
    }

    #[repr(C)]
    struct Part {
        data: *const u8,
        size: usize,
    }

    fn clock(clock: u32) -> Duration {
        let mut time = 0;
        // SAFETY: the pointer is valid for the call.
        unsafe { clock_time_get(clock, 1, &mut time) };
        Duration::from_nanos(time)
    }

    pub(super) fn wall_clock() -> Duration {
        clock(0)
    }

    pub(super) fn has_monotonic_clock() -> bool {
        !clock(1).is_zero()
    }

    fn write(file: u32, text: &str) {
        let part = Part { data: text.as_ptr(), size: text.len() };
        let mut written = 0;
        // SAFETY: the pointers are valid for the call.
        unsafe { fd_write(file, &part, 1, &mut written) };
    }

    pub(super) fn print_error(text: &str) {
        write(2, text);
    }

    pub(super) fn print(text: &str) {
        write(1, text);
    }
}
