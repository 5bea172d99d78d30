//! The proof that a drain loses nothing: real proxies are restarted in turn behind a real load
//! balancer, under clients that never retry and count whatever they lose. Other ways to restart a proxy
//! stand in the same place, so that the figures can be compared.
//!
//! Three stories: [`rolling`] restarts, [`blue_green`] switches on one proxy, and [`scale_out`].

mod account;
pub mod blue_green;
mod crew;
mod filter;
mod http1;
mod http2;
pub mod rolling;
pub mod scale_out;
mod service;
mod table;
pub mod ways;

pub use account::{Account, Accounts, Failure, Kind, Span};
pub use crew::{Crew, Plan};
pub use table::table;
