//! `docs/from-nginx.md` is true: each of its rows is tried on a real nginx and a real Envoy, with the configurations that stand on the page.

mod bodies;
mod connections;
mod limits;
mod page;
mod tries;

use page::{Page, Section};

/// A body that no socket holds for a peer that does not read.
const LARGE: usize = 32 << 20;

/// A test for each row, and the list of them.
macro_rules! trials {
    ($($file:ident::$name:ident)*) => {
        const TRIED: &[&str] = &[$(stringify!($name)),*];
        $(#[test] fn $name() { $file::$name(&Section::of(stringify!($name))); })*
    };
}

trials! {
    bodies::proxy_buffering
    bodies::proxy_request_buffering
    bodies::proxy_buffers
    bodies::proxy_buffer_size
    limits::proxy_connect_timeout
    limits::proxy_read_timeout
    limits::proxy_send_timeout
    connections::keepalive_timeout
    connections::worker_shutdown_timeout
    tries::proxy_next_upstream
    tries::proxy_next_upstream_tries
    tries::proxy_next_upstream_timeout
    bodies::x_accel_buffering
    bodies::proxy_ignore_headers_x_accel_buffering
}

#[test]
fn each_row_has_a_section_and_each_section_a_test() {
    let page = Page::read();
    assert_eq!(page.rows(), page.sections(), "the table, and the sections");
    let tests: Vec<_> = page.sections().iter().map(|name| page::test(name)).collect();
    assert_eq!(tests, TRIED, "the sections, and what is tried");
}
