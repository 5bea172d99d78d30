//! Proves that a drain loses no request: restarts real proxies behind a real load balancer, under
//! clients that never retry and count every failed request. Other restart methods run under the
//! same load, for comparison.
//!
//! Four scenarios: [`rolling`] restarts, [`streams`] that are open during restarts, [`blue_green`]
//! switches behind one proxy, and [`scale_out`].

pub mod blue_green;
mod client_pool;
mod client_stats;
mod filter;
mod http1_client;
mod http2_client;
pub mod restart;
pub mod rolling;
pub mod scale_out;
mod service;
pub mod streams;
mod table;

pub use client_pool::{ClientPool, Load};
pub use client_stats::{AllClients, ClientKind, ClientStats, ConnectionSpan, Failure};
pub use table::table;
