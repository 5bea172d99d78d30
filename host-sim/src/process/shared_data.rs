//! The key-value store of a process, with compare-and-swap.
//!
//! Keys belong to a `vm_id`: VMs with the same id share them. Each write assigns a new CAS number
//! to the value. The number is never 0, because a write with CAS 0 is unconditional.

use std::collections::HashMap;

use crate::abi::Status;

#[derive(Debug)]
pub(crate) struct SharedData {
    /// By `vm_id` and key. The maps are never iterated, so their order has no effect.
    values: HashMap<String, HashMap<Vec<u8>, Versioned>>,
    bytes: usize,
    limit: usize,
    next_cas: u32,
    /// See [`Rules::cas_creates`](crate::Rules::cas_creates).
    cas_creates: bool,
}

/// Bytes charged for an entry in addition to its key and value. Measured: an entry with a key of four
/// bytes and an empty value takes about 200 bytes.
const OVERHEAD: usize = 192;

#[derive(Debug)]
struct Versioned {
    value: Vec<u8>,
    cas: u32,
}

impl SharedData {
    pub(crate) fn new(limit: usize, cas_creates: bool) -> SharedData {
        SharedData { values: HashMap::new(), bytes: 0, limit, next_cas: 1, cas_creates }
    }

    pub(crate) fn find(&self, vm_id: &str, key: &[u8]) -> Option<(&[u8], u32)> {
        let found = self.values.get(vm_id)?.get(key)?;
        Some((&found.value, found.cas))
    }

    pub(crate) fn set(
        &mut self,
        vm_id: &str,
        key: &[u8],
        value: &[u8],
        cas: u32,
    ) -> Result<(), Status> {
        let old = self.find(vm_id, key).map(|(value, cas)| (value.len(), cas));
        match old {
            Some((_, current)) if cas != 0 && cas != current => return Err(Status::CasMismatch),
            None if cas != 0 && !self.cas_creates => return Err(Status::CasMismatch),
            _ => {}
        }
        let freed = old.map_or(0, |(len, _)| OVERHEAD + key.len() + len);
        let bytes = self.bytes - freed + OVERHEAD + key.len() + value.len();
        if bytes > self.limit {
            return Err(Status::InternalFailure);
        }
        self.bytes = bytes;
        let entry = Versioned { value: value.to_vec(), cas: self.next_cas };
        self.next_cas = self.next_cas.checked_add(1).unwrap_or(1);
        match self.values.get_mut(vm_id) {
            Some(values) => values.insert(key.to_vec(), entry),
            None => self.values.entry(vm_id.to_owned()).or_default().insert(key.to_vec(), entry),
        };
        Ok(())
    }
}
