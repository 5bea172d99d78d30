//! Every callback and every host call of ABI 0.2.1, with each status that its text documents,
//! against small handwritten guests. If Envoy differs from the text, the name of the test states
//! how.

mod buffers;
mod calls;
mod deadlines;
mod exchange;
mod headers;
mod hostile;
mod lifecycle;
mod limits;
mod loading;
mod metrics;
mod pausing;
mod properties;
mod replies;
mod shared;
mod system;
mod tcp;
