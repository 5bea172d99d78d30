//! `sluice` at the command line: what it refuses and in which words, what it prints, and how it ends.
//!
//! Exit status 0: everything held; 1: something expected did not hold; 2: bad input, of which nothing was run.

use sluice_test_kit::program;
mod cli {
    mod configurations;
    mod drain;
    mod explain;
    mod import;
    mod modules;
    mod output;
    mod schema;
    mod traces;
    mod wrong;
}
