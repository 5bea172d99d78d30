//! Hashing for maps whose keys come from the operator or from the host.
//!
//! FNV-1a costs one multiplication a byte, is fast for short keys, and extends byte by byte.
//! Clients can look up keys in these maps but not insert any, and therefore cannot force
//! collisions.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A map with this hash. A `u64` key is used as its own hash.
pub(crate) type Map<K, V> = HashMap<K, V, BuildHasherDefault<Fnv>>;

/// The hash of no bytes.
pub(crate) const SEED: u64 = 0xcbf2_9ce4_8422_2325;

/// Adds `bytes` to a hash.
pub(crate) fn extend(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

pub(crate) struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(SEED)
    }
}

impl Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = extend(self.0, bytes);
    }

    fn write_u32(&mut self, number: u32) {
        // Upper and lower bits both select a place in the map.
        self.0 = u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}
