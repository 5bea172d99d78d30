//! The filter's module, so that `sluice` works outside of a clone.
//!
//! This is a package of its own because of its build script: the fuzz targets compile the program's
//! package with instrumentation, which a build script cannot be linked with.

/// The module in `target/` when this package was built; `None` if there was none.
pub const FILTER: Option<&[u8]> = include!(concat!(env!("OUT_DIR"), "/embedded_filter.rs"));
