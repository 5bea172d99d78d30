//! Properties and foreign functions.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use sluice_sim::{
    ConnectionInfo, ForeignCall, PluginOptions, Process, Profile, Properties, Status, StreamInfo,
    TlsInfo,
};

use crate::guest::{BOTH, Run, compile, log_status, on, response};

/// Reads a path, and logs the status and, if it was found, the bytes.
fn read(path: &str) -> String {
    format!(
        "(call $log_number (call $get_property @\"{path}\" @p @n))
         (if (i32.load @p) (then (call $log_bytes) (i32.store @p (i32.const 0))))"
    )
}

fn in_request(profile: Profile, path: &str) -> Vec<String> {
    Run::new(profile, &on("request_headers", &read(path))).logged_on_request()
}

#[test]
fn request_properties_are_available() {
    for profile in BOTH {
        for (path, expected) in [
            ("request\\0path", "/a?b=c"),
            ("request\\0url_path", "/a"),
            ("request\\0query", "b=c"),
            ("request\\0method", "GET"),
            ("request\\0host", "a.example.com"),
            // Repeated headers are joined, as in Envoy.
            ("request\\0headers\\0x-a", "1,2"),
            ("request\\0protocol", "HTTP/1.1"),
            ("source\\0address", "10.0.0.1:4711"),
            ("destination\\0address", "10.0.0.2:443"),
            ("connection\\0id", "\u{7}\0\0\0\0\0\0\0"),
            ("request\\0size", "\0\0\0\0\0\0\0\0"),
            ("request\\0path\\0", "/a?b=c"),
        ] {
            assert_eq!(in_request(profile, path), ["0", expected], "{path}");
        }
    }
}

#[test]
fn unknown_properties_are_not_found() {
    for profile in BOTH {
        for path in [
            "none",
            "request\\0none",
            "request\\0path\\0none",
            "response\\0code",
            "request\\0duration",
            "a\\0b\\0c\\0d",
        ] {
            assert_eq!(in_request(profile, path), ["1"], "{path}");
        }
    }
}

/// Measured on Envoy 1.40: a path that ends at a message has a value, but no form in bytes.
#[test]
fn messages_have_no_value_in_bytes() {
    for path in ["", "request", "response", "connection", "source", "filter_state", "upstream"] {
        assert_eq!(in_request(Profile::Envoy, path), ["3"], "{path}");
        assert_eq!(in_request(Profile::Generic, path), ["1"], "{path}");
    }
}

#[test]
fn response_properties_are_available() {
    for profile in BOTH {
        let body = read("response\\0code") + &read("response\\0headers\\0content-type");
        let mut run = Run::new(profile, &on("response_headers", &body));
        let stream = run.get(true);
        let headers = [(":status", "110"), ("content-type", "text/html")].into_iter().collect();
        run.vm.response_headers(stream, headers, true);
        assert_eq!(run.logged(), ["0", "\u{6e}\0\0\0\0\0\0\0", "0", "text/html"]);
    }
}

#[test]
fn request_path_is_unavailable_only_in_the_response_phase() {
    for profile in BOTH {
        let guest = on("response_headers", &read("request\\0path"))
            + &on("log", &(read("request\\0path") + &read("request\\0duration")));
        let mut run = Run::new(profile, &guest);
        let stream = run.get(true);
        run.vm.response_headers(stream, response(), true);
        run.process.set_now(run.process.now() + Duration::from_nanos(5));
        run.vm.close_http(stream);
        assert_eq!(run.logged(), ["1", "0", "/a?b=c", "0", "\u{5}\0\0\0\0\0\0\0"]);
    }
}

#[test]
fn plugin_has_its_names_and_no_stream_properties() {
    for profile in BOTH {
        let body = read("plugin_name") + &read("plugin_root_id") + &read("connection\\0id");
        let options = PluginOptions::default().with_name("sluice").with_root_id("root");
        let guest = compile(&on("tick", &body));
        let mut run = Run::with(&Process::new(profile, 1), &guest, options);
        assert_eq!(run.logged_on_tick(), ["0", "sluice", "0", "root", "1"]);
    }
}

#[test]
fn embedder_supplies_properties_of_plugins_and_streams() {
    for profile in BOTH {
        let body = read("xds\\0node\\0id") + &read("xds\\0route_name");
        let options = PluginOptions::default()
            .with_properties(Properties::new().with(&["xds", "node", "id"], "n1"));
        let guest = compile(&on("request_headers", &body));
        let mut run = Run::with(&Process::new(profile, 1), &guest, options);
        let properties = Properties::new().with(&["xds", "route_name"], "r1");
        let info = StreamInfo::default().with_properties(Arc::new(properties));
        let stream = run.vm.open_http(run.plugin, info);
        run.vm.request_headers(stream, crate::guest::request(), true);
        assert_eq!(run.logged(), ["0", "n1", "0", "r1"]);
        assert_eq!(run.vm.property(stream, &["xds", "node", "id"]), Some(b"n1".to_vec()));
    }
}

/// Reads a path that has only other paths below it.
fn node(profile: Profile) -> Vec<String> {
    let options = PluginOptions::default()
        .with_properties(Properties::new().with(&["xds", "node", "id"], "n1").with(&["xdsx"], ""));
    let guest = compile(&on("tick", &(read("xds\\0node") + &read("xds\\0no") + &read("xds"))));
    Run::with(&Process::new(profile, 1), &guest, options).logged_on_tick()
}

#[test]
fn path_without_a_value_is_not_found() {
    assert_eq!(node(Profile::Generic), ["1", "1", "1"]);
}

#[test]
fn envoy_cannot_serialize_a_path_with_other_paths_below() {
    assert_eq!(node(Profile::Envoy), ["3", "1", "3"]);
}

fn set_host_property(profile: Profile) -> Vec<String> {
    let body = log_status(r#"set_property @"plugin_name" @"mine""#) + &read("plugin_name");
    let guest = compile(&on("request_headers", &body));
    let options = PluginOptions::default().with_name("host's");
    Run::with(&Process::new(profile, 1), &guest, options).logged_on_request()
}

#[test]
fn guest_can_override_a_host_property() {
    assert_eq!(set_host_property(Profile::Generic), ["0", "0", "mine"]);
}

#[test]
fn envoy_prefers_host_properties_over_those_of_the_guest() {
    assert_eq!(set_host_property(Profile::Envoy), ["0", "0", "host's"]);
}

#[test]
fn tls_properties_are_available() {
    for profile in BOTH {
        let body = read("connection\\0tls_version")
            + &read("connection\\0requested_server_name")
            + &read("connection\\0mtls");
        let mut run = Run::new(profile, &on("request_headers", &body));
        let tls = TlsInfo::default()
            .with_version("TLSv1.3")
            .with_server_name("a.example.com")
            .with_mutual(true);
        let connection = ConnectionInfo::default().with_tls(tls);
        let info = StreamInfo::default().with_connection(connection);
        let stream = run.vm.open_http(run.plugin, info);
        run.vm.request_headers(stream, crate::guest::request(), true);
        assert_eq!(run.logged(), ["0", "TLSv1.3", "0", "a.example.com", "0", "\u{1}"]);
    }
}

#[test]
fn stored_property_is_readable_by_stream_and_embedder() {
    for profile in BOTH {
        let body = log_status(r#"set_property @"sluice.route" @"one""#)
            + &log_status(r#"set_property @"sluice.route" @"two""#)
            + &read("sluice.route");
        let mut run = Run::new(profile, &on("request_headers", &body));
        let stream = run.get(true);
        assert_eq!(run.logged(), ["0", "0", "0", "two"]);
        assert_eq!(run.vm.property(stream, &["sluice.route"]), Some(b"two".to_vec()));
        let other = run.open();
        assert_eq!(run.vm.property(other, &["sluice.route"]), None);
        run.vm.close_http(stream);
        let next = run.open();
        assert_eq!(run.vm.property(next, &["sluice.route"]), None);
    }
}

fn store_and_read_nested_path(profile: Profile) -> Vec<String> {
    let body = log_status(r#"set_property @"a\0b" @"x""#) + &read("a\\0b");
    Run::new(profile, &on("request_headers", &body)).logged_on_request()
}

#[test]
fn stored_nested_path_is_readable() {
    assert_eq!(store_and_read_nested_path(Profile::Generic), ["0", "0", "x"]);
}

#[test]
fn envoy_does_not_find_a_stored_nested_path() {
    assert_eq!(store_and_read_nested_path(Profile::Envoy), ["0", "1"]);
}

#[test]
fn plugin_can_store_properties() {
    let body = log_status(r#"set_property @"a" @"x""#) + &read("a");
    assert_eq!(Run::new(Profile::Generic, &on("tick", &body)).logged_on_tick(), ["0", "0", "x"]);
}

#[test]
fn envoy_plugin_cannot_store_properties() {
    let body = log_status(r#"set_property @"a" @"x""#);
    assert_eq!(Run::new(Profile::Envoy, &on("tick", &body)).logged_on_tick(), ["1"]);
}

#[test]
fn pointers_outside_memory_are_rejected() {
    for profile in BOTH {
        let body = log_status("get_property (i32.const -1) (i32.const 1) @p @n")
            + &log_status(r#"get_property @"request\0path" (i32.const -1) @n"#)
            + &log_status(r#"set_property (i32.const -1) (i32.const 1) @"x""#)
            + &log_status(r#"set_property @"a" (i32.const 262144) (i32.const 1)"#)
            + &log_status(r#"call_foreign_function (i32.const -1) (i32.const 1) @"" @p @n"#)
            + &log_status(r#"call_foreign_function @"f" (i32.const 0) (i32.const -1) @p @n"#);
        let mut run = Run::new(profile, &on("request_headers", &body));
        assert_eq!(run.logged_on_request(), ["6"; 6]);
    }
}

#[test]
fn size_of_properties_is_limited() {
    for profile in BOTH {
        let body = r#"(local $status i32)
            (loop $more
              (i32.store (i32.const 4096) (i32.add (i32.load (i32.const 4096)) (i32.const 1)))
              (local.set $status (call $set_property (i32.const 4096) (i32.const 4)
                (i32.const 0) (i32.const 9999)))
              (br_if $more (i32.eqz (local.get $status))))
            (call $log_number (local.get $status))"#;
        assert_eq!(Run::new(profile, &on("request_headers", body)).logged_on_request(), ["10"]);
    }
}

const FOREIGN: &str = r#"(call $log_number (call $call_foreign_function @"twice" @"ab" @p @n))"#;

#[test]
fn unknown_foreign_function_is_not_found() {
    for profile in BOTH {
        assert_eq!(Run::new(profile, &on("tick", FOREIGN)).logged_on_tick(), ["1"]);
    }
}

#[test]
fn foreign_function_receives_its_caller_and_returns_a_result() {
    for profile in BOTH {
        let calls: Arc<Mutex<Vec<ForeignCall>>> = Arc::default();
        let seen = calls.clone();
        let process = Process::new(profile, 1);
        process.register_foreign_function("twice", move |call, arguments| {
            seen.lock().unwrap().push(call.clone());
            Ok(arguments.repeat(2))
        });
        let body = FOREIGN.to_owned() + "(call $log_bytes)";
        let guest = compile(&(on("tick", &body) + &on("request_headers", &body)));
        let mut run = Run::with(&process, &guest, PluginOptions::default());
        assert_eq!(run.logged_on_tick(), ["0", "abab"]);
        let stream = run.get(true);
        assert_eq!(run.logged(), ["0", "abab"]);
        let calls = calls.lock().unwrap();
        let callers: Vec<_> = calls.iter().map(|call| (call.plugin, call.stream)).collect();
        assert_eq!(callers, [(run.plugin, None), (run.plugin, Some(stream))]);
    }
}

#[test]
fn foreign_function_can_fail_and_its_result_can_be_ignored() {
    for profile in BOTH {
        let process = Process::new(profile, 1);
        process.register_foreign_function("no", |_, _| Err(Status::Unimplemented));
        process.register_foreign_function("twice", |_, arguments| Ok(arguments.repeat(2)));
        let body = log_status(r#"call_foreign_function @"no" @"" @p @n"#)
            + &log_status(r#"call_foreign_function @"twice" @"ab" (i32.const 0) (i32.const 0)"#)
            + &log_status(r#"call_foreign_function @"twice" @"ab" (i32.const 0) @n"#)
            + "(call $log_number (i32.load @n))";
        let guest = compile(&on("tick", &body));
        let mut run = Run::with(&process, &guest, PluginOptions::default());
        assert_eq!(run.logged_on_tick(), ["12", "0", "0", "4"]);
    }
}

#[test]
fn embedder_can_call_a_function_of_the_guest() {
    for profile in BOTH {
        let body =
            "(call $log_number (local.get $a)) (call $log_number (local.get $b)) (call $log_number (local.get $c))
            (drop (call $get_buffer_bytes (i32.const 8) (i32.const 0) (i32.const 99) @p @n))
            (call $log_bytes)";
        let mut run = Run::new(profile, &on("foreign_function", body));
        run.vm.call_guest_function(run.plugin, 5, b"arguments");
        assert_eq!(run.logged(), ["1", "5", "9", "arguments"]);
    }
}
