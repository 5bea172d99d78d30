//! Reads and writes of shared data that several VMs change at the same time.

use crate::host::{Host, HostError, SharedValue, log_refusal};

/// The number of attempts of a write while other VMs write too. The next tick repeats it in any
/// case.
pub(crate) const ATTEMPTS: usize = 16;

/// A CAS number that no value has in practice: hosts count up from 1 with every write.
///
/// The ABI has no condition "if the key has no value": the number 0 overwrites any value. Envoy
/// compares a number only with that of an existing value and creates a missing one, so with this
/// number the first write is conditional too.
const UNUSED: u32 = u32::MAX;

/// Another VM wrote since the read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outdated;

pub(crate) fn read(host: &mut impl Host, key: &str) -> SharedValue {
    host.shared_data(key).unwrap_or_default()
}

/// Writes `value` if no other VM has written since the read that returned `cas`.
///
/// A host that refuses to create a value under [`UNUSED`] gets an unconditional first write.
pub(crate) fn write(
    host: &mut impl Host,
    key: &str,
    value: &str,
    cas: Option<u32>,
) -> Result<(), Outdated> {
    let value = value.as_bytes();
    let written = match host.set_shared_data(key, value, Some(cas.unwrap_or(UNUSED))) {
        Err(HostError::CasMismatch) if cas.is_none() && read(host, key).cas.is_none() => {
            host.set_shared_data(key, value, None)
        }
        other => other,
    };
    match written {
        Err(HostError::CasMismatch) => Err(Outdated),
        other => {
            log_refusal(host, other, key);
            Ok(())
        }
    }
}

/// The result of [`update`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Update {
    /// The last result of `next` was written.
    Written,
    /// `next` had nothing to write.
    Unchanged,
    /// Other VMs wrote at every attempt.
    Busy,
}

/// Reads a value and writes the result of `next`. Repeats both while other VMs write too. Ends when
/// `next` has nothing to write. `next` must not assume that its result is written: the write may
/// fail.
pub(crate) fn update<H: Host>(
    host: &mut H,
    key: &str,
    mut next: impl FnMut(&mut H, Option<&[u8]>) -> Option<String>,
) -> Update {
    for _ in 0..ATTEMPTS {
        let SharedValue { value, cas } = read(host, key);
        let Some(new) = next(host, value.as_deref()) else { return Update::Unchanged };
        if write(host, key, &new, cas).is_ok() {
            return Update::Written;
        }
    }
    Update::Busy
}
