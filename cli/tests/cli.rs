//! `sluice` on the command line: the inputs that it rejects, the words of each error, its output,
//! and its exit status.
//!
//! Exit status 0: everything was as expected; 1: something was not; 2: bad input, and nothing was
//! run.

mod cli {
    mod check;
    mod check_proxy;
    mod diff;
    mod drain;
    mod explain;
    mod false_green;
    mod import;
    mod invalid_configurations;
    mod limits;
    mod module_cache;
    mod modules;
    mod output;
    mod proxies;
    mod readme;
    mod schema;
    mod streaming;
    mod traces;
}
