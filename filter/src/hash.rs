//! Hashing for maps whose keys the operator chose.
//!
//! FNV-1a: a multiplication a byte, good for short keys, and it extends byte by byte. Clients only look things up in these maps and cannot
//! put anything in, so there is nobody whose collisions a slower hash would have to resist.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A map with this hash. A key that is a `u64` is taken for a hash already.
pub(crate) type Map<K, V> = HashMap<K, V, BuildHasherDefault<Fnv>>;

/// Where every hash begins.
pub(crate) const SEED: u64 = 0xcbf2_9ce4_8422_2325;

/// The hash after some more bytes.
pub(crate) fn extend(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// See [`Map`].
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

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}
