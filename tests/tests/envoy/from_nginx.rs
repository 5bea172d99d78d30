//! Every row of `docs/from-nginx.md`, run on a real nginx and a real Envoy with the configuration
//! blocks of the page.

mod bodies;
mod connections;
mod page;
mod retries;
mod timeouts;

use page::{Page, Section};

/// A body larger than all socket buffers, so that a peer that does not read blocks the sender.
const LARGE: usize = 32 << 20;

/// Defines a test for each row and the list of all rows.
macro_rules! rows {
    ($($file:ident::$name:ident)*) => {
        const TESTED: &[&str] = &[$(stringify!($name)),*];
        $(#[test] fn $name() { $file::$name(&Section::of(stringify!($name))); })*
    };
}

rows! {
    bodies::proxy_buffering
    bodies::proxy_request_buffering
    bodies::lingering_close
    bodies::proxy_buffers
    bodies::proxy_buffer_size
    timeouts::proxy_connect_timeout
    timeouts::proxy_read_timeout
    timeouts::proxy_send_timeout
    connections::keepalive_timeout
    connections::worker_shutdown_timeout
    retries::proxy_next_upstream
    retries::proxy_next_upstream_tries
    retries::proxy_next_upstream_timeout
    bodies::x_accel_buffering
    bodies::proxy_ignore_headers_x_accel_buffering
}

#[test]
fn each_row_has_a_section_and_each_section_a_test() {
    let page = Page::read();
    assert_eq!(page.rows(), page.sections(), "table rows and sections");
    let tests: Vec<_> = page.sections().iter().map(|name| page::test(name)).collect();
    assert_eq!(tests, TESTED, "sections and tests");
}
