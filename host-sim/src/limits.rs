//! How much of the host one guest may use.
//!
//! A guest is somebody else's code. Whatever it can make the host keep or do is counted against one
//! of these numbers, so that a broken or hostile filter costs its own streams and nothing more.

/// Bounds on what a guest may consume. What exceeds a bound is refused with
/// [`Status::InternalFailure`](crate::Status::InternalFailure), cut, or ends the virtual machine, as
/// each field says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Instructions that one callback may execute before it is stopped with a trap.
    pub callback_budget: u64,
    /// Bytes of linear memory; growing beyond fails inside the guest.
    pub memory_bytes: usize,
    /// Entries of all tables of the module; growing beyond fails inside the guest.
    pub table_elements: usize,
    /// Bytes of native stack for the guest's calls; deeper recursion is a trap.
    pub stack_bytes: usize,
    /// Bytes of log text between two [`drain_effects`](crate::Vm::drain_effects); what comes after is
    /// dropped and counted.
    pub log_bytes: usize,
    /// Bytes of calls, messages and written bodies that wait in the effects.
    pub effect_bytes: usize,
    /// Bytes of one header map that a guest may write.
    pub header_bytes: usize,
    /// Bytes of one body or of data of a connection that a guest may write into a buffer.
    pub buffer_bytes: usize,
    /// HTTP and gRPC calls of one virtual machine that wait for an answer.
    pub pending_calls: usize,
    /// Bytes of properties that one context may set.
    pub property_bytes: usize,
    /// Metrics of the process.
    pub metrics: usize,
    /// Bytes of one metric's name.
    pub metric_name_bytes: usize,
    /// Bytes of keys and values in the shared data of the process.
    pub shared_data_bytes: usize,
    /// Bytes of names and items in the shared queues of the process.
    pub queue_bytes: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        const MIB: usize = 1 << 20;
        Limits {
            callback_budget: 1_000_000_000,
            memory_bytes: 256 * MIB,
            table_elements: 1_000_000,
            stack_bytes: MIB / 2,
            log_bytes: MIB,
            effect_bytes: 64 * MIB,
            header_bytes: MIB,
            buffer_bytes: 16 * MIB,
            pending_calls: 1024,
            property_bytes: MIB,
            metrics: 10_000,
            metric_name_bytes: 1024,
            shared_data_bytes: 64 * MIB,
            queue_bytes: 64 * MIB,
        }
    }
}
