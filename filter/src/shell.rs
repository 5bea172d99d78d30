//! The filter as a proxy-wasm module: hands what the host says to the rules and carries out what they decide.
//!
//! Nothing is decided here. Everything that goes to the host goes through [`host`], in whose functions a refusal of the host is a value: a
//! panic would take the whole VM and every stream in it along.

mod admin;
mod host;
mod http;
mod root;
mod stores;
mod vm;
mod watch;

proxy_wasm::main! {{
    proxy_wasm::set_root_context(|_| Box::new(root::Root::default()));
}}
