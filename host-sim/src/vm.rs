//! A VM: one worker's instance of a module. Events go in, effects come out.
//!
//! [`Vm`] has one file for its state and one for each group of events.

mod callbacks;
mod calls;
mod guest;
mod http;
mod instance;
mod plugins;
mod reply;
mod tcp;

pub use instance::Vm;
