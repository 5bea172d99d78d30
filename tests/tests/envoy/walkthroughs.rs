//! The commands in the READMEs of the examples do what the READMEs promise.

use std::thread::sleep;
use std::time::{Duration, Instant};

use sluice_tests::eventually;
use sluice_tests::http1::Client;
use sluice_tests::readme_commands::ReadmeCommands;

#[test]
fn the_commands_of_the_static_example_show_a_streamed_response() {
    let mut walk = ReadmeCommands::open("static");
    let printed = walk.next_block();
    assert!(printed.contains("\r\nx-accel-buffering: no\r\n"), "{printed}");
}

#[test]
fn the_commands_of_the_dynamic_example_reconfigure_the_filter_on_an_open_connection() {
    let mut walk = ReadmeCommands::open("dynamic");
    walk.next_block();
    let admin = walk.port(9901);
    let limit = |limit: &str| {
        let dump = Client::get_once(admin, "/config_dump").body.bytes;
        String::from_utf8_lossy(&dump).contains(&format!("\\\"request\\\": \\\"{limit}\\\""))
    };
    let mut client = Client::connect(walk.port(10000));
    assert_eq!(client.get("/").status, 200);
    eventually("the timeout to be in force", || limit("5s").then_some(()));
    walk.next_block();
    eventually("the new timeout to be in force", || limit("300ms").then_some(()));
    assert_eq!(client.get("/").status, 200, "on the same connection");
}

#[test]
fn the_commands_of_the_bridge_example_close_an_open_connection() {
    let mut walk = ReadmeCommands::open("drain-bridge");
    walk.next_block();
    let mut old = Client::connect(walk.port(10000));
    assert!(!old.get("/").closes());
    walk.next_block();
    let start = Instant::now();
    while !old.get("/").closes() {
        assert!(start.elapsed() < Duration::from_secs(7), "the window is five seconds");
        sleep(Duration::from_millis(50));
    }
    assert!(!Client::connect(walk.port(10000)).get("/").closes());
}

#[test]
fn the_commands_of_the_metrics_example_show_the_metrics() {
    let mut walk = ReadmeCommands::open("metrics");
    let printed = walk.next_block();
    assert!(printed.contains("\nsluice_route_requests{sluice_route=\"api\"} 1\n"), "{printed}");
    let envoy = format!("127.0.0.1:{}/stats/prometheus", walk.port(9901));
    eventually("Prometheus to scrape Envoy", || {
        let targets = Client::get_once(walk.port(9090), "/api/v1/targets").body.bytes;
        String::from_utf8_lossy(&targets).contains(&envoy).then_some(())
    });
}
