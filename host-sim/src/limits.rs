//! Bounds on the resources that one guest may use.
//!
//! A guest is untrusted code. Everything that it can make the host store or execute counts against
//! one of these limits. A broken or hostile filter therefore harms its own streams only.

use crate::setters::setters;

/// Bounds on the resources that a guest may use.
///
/// Unless a field states otherwise, a host call that would exceed its limit returns
/// [`Status::InternalFailure`](crate::Status::InternalFailure).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of a module. A larger module is not compiled.
    pub module_bytes: usize,
    /// Functions of a module.
    pub functions: usize,
    /// Bytes of the body of one function.
    pub function_bytes: usize,
    /// Local variables of one function.
    pub function_locals: usize,
    /// What the control flow of one function may cost the compiler: the number of blocks and
    /// branches times the number of local variables, and ten times the square of the number of loops.
    pub function_complexity: usize,
    /// Instructions that one callback may execute; a callback that exceeds it traps. A host call
    /// counts as 100 instructions, and as one more for each byte that it scans or copies beyond 1024.
    pub callback_budget: u64,
    /// Epochs that one callback may last, instead of [`callback_budget`](Self::callback_budget). The
    /// embedder calls [`Module::advance_epoch`](crate::Module::advance_epoch) at a regular interval;
    /// a callback traps after this number of advances, and so lasts at least one interval less than
    /// this number, and at most this number of intervals and one host call. Instructions are not
    /// counted. This costs less than counting them, but where a callback ends depends on the
    /// machine. The default, `None`, counts instructions.
    pub callback_deadline: Option<u64>,
    /// Bytes of linear memory; `memory.grow` fails beyond it.
    pub memory_bytes: usize,
    /// Entries in all tables of the module; `table.grow` fails beyond it.
    pub table_elements: usize,
    /// Bytes of native stack for the guest's calls; deeper recursion traps.
    pub stack_bytes: usize,
    /// Bytes of log text between two calls of [`drain_effects`](crate::Vm::drain_effects). Further
    /// lines are dropped and counted in [`dropped_logs`](crate::Vm::dropped_logs).
    pub log_bytes: usize,
    /// Bytes of calls, messages and local replies in effects that are not drained yet.
    pub effect_bytes: usize,
    /// Bytes of one header map that a guest writes.
    pub header_bytes: usize,
    /// Bytes of one body, or of one direction of TCP data, that a guest writes into a buffer.
    pub buffer_bytes: usize,
    /// HTTP and gRPC calls of one VM that have no response yet.
    pub pending_calls: usize,
    /// Bytes of properties that one context may set.
    pub property_bytes: usize,
    /// Bytes of headers, bodies, TCP data and properties of all open streams of one VM, from which on
    /// the guest cannot add to them.
    pub stream_bytes: usize,
    /// Streams of one VM that have ended and for which `proxy_on_done` returned false. A stream
    /// beyond this number is removed at once.
    pub waiting_streams: usize,
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
            module_bytes: 64 * MIB,
            functions: 200_000,
            function_bytes: MIB,
            function_locals: 5_000,
            function_complexity: 50_000_000,
            callback_budget: 1_000_000_000,
            callback_deadline: None,
            memory_bytes: 256 * MIB,
            table_elements: 1_000_000,
            stack_bytes: MIB / 2,
            log_bytes: MIB,
            effect_bytes: 64 * MIB,
            header_bytes: MIB,
            buffer_bytes: 16 * MIB,
            pending_calls: 1024,
            property_bytes: MIB,
            stream_bytes: 1024 * MIB,
            waiting_streams: 10_000,
            metrics: 10_000,
            metric_name_bytes: 1024,
            shared_data_bytes: 64 * MIB,
            queue_bytes: 64 * MIB,
        }
    }
}

setters!(Limits {
    with_module_bytes(module_bytes: usize),
    with_functions(functions: usize),
    with_function_bytes(function_bytes: usize),
    with_function_locals(function_locals: usize),
    with_function_complexity(function_complexity: usize),
    with_callback_budget(callback_budget: u64),
    with_callback_deadline(callback_deadline: impl Into<Option<u64>>),
    with_memory_bytes(memory_bytes: usize),
    with_table_elements(table_elements: usize),
    with_stack_bytes(stack_bytes: usize),
    with_log_bytes(log_bytes: usize),
    with_effect_bytes(effect_bytes: usize),
    with_header_bytes(header_bytes: usize),
    with_buffer_bytes(buffer_bytes: usize),
    with_pending_calls(pending_calls: usize),
    with_property_bytes(property_bytes: usize),
    with_stream_bytes(stream_bytes: usize),
    with_waiting_streams(waiting_streams: usize),
    with_metrics(metrics: usize),
    with_metric_name_bytes(metric_name_bytes: usize),
    with_shared_data_bytes(shared_data_bytes: usize),
    with_queue_bytes(queue_bytes: usize),
});
