//! Runs the rows of a table in `proxy-wasm-host`, and prints what the guest logged in each.
//!
//! The program reads a JSON object from standard input: `module`, a path; `plugin`, `vm_id` and
//! `configuration`; and `rows` with `request`, `upstream` and `clusters` as in a trace. It prints a
//! JSON object: `error`, if the module does not start, or `rows`, each with its `log` lines, the
//! `status`, the `headers` and the `body` that a client would receive, and the `headers` and the
//! `body` that the `upstream` would receive.

mod drive;
mod exchange;
mod services;

use std::io::Read;

use serde_json::{Value, json};

fn main() {
    let mut input = String::new();
    std::io::stdin().read_to_string(&mut input).expect("standard input is readable");
    let input: Value = serde_json::from_str(&input).expect("standard input is JSON");
    let output = match drive::Plugin::start(&input) {
        Ok(mut plugin) => {
            let rows = input["rows"].as_array().into_iter().flatten();
            json!({ "rows": rows.map(|row| plugin.run(row)).collect::<Vec<_>>() })
        }
        Err(error) => json!({ "error": error }),
    };
    println!("{output}");
}
