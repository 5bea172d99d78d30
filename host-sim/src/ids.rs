//! Handles for contexts, calls and queues.

/// A plugin context of one VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PluginId {
    pub(crate) context: u32,
    pub(crate) slot: u32,
}

impl PluginId {
    /// The context id that the guest sees.
    pub fn context(self) -> u32 {
        self.context
    }
}

/// A stream context of one VM: an HTTP exchange or a TCP connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId {
    pub(crate) context: u32,
    pub(crate) slot: u32,
}

impl StreamId {
    /// The context id that the guest sees. Ids count up and are not reused while their context
    /// exists.
    pub fn context(self) -> u32 {
        self.context
    }
}

/// An HTTP or gRPC call that a guest started; unique in its VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u32);

/// A shared queue; unique in its process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueId(pub u32);
