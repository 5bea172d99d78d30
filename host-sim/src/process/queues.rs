//! The shared queues of a process. Any guest can enqueue; the plugin that registered a queue last
//! is notified.

use std::collections::{HashMap, VecDeque};

use crate::abi::Status;
use crate::ids::{PluginId, QueueId};

/// A notification that a queue has a new item. Deliver it with
/// [`Vm::queue_ready`](crate::Vm::queue_ready).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueEvent {
    /// The id of the VM that owns the plugin; see [`Vm::id`](crate::Vm::id).
    pub vm: u64,
    /// The plugin that registered the queue last.
    pub plugin: PluginId,
    /// The queue.
    pub queue: QueueId,
}

#[derive(Debug)]
struct Queue {
    /// The VM and plugin that registered the queue last.
    owner: (u64, PluginId),
    items: VecDeque<Vec<u8>>,
}

/// All queues of a process. The id of a queue is its position, starting at 1.
#[derive(Debug)]
pub(crate) struct Queues {
    queues: Vec<Queue>,
    /// By `vm_id` and name. The maps are never iterated, so their order has no effect.
    ids: HashMap<String, HashMap<Vec<u8>, QueueId>>,
    events: Vec<QueueEvent>,
    bytes: usize,
    limit: usize,
}

/// Bytes charged for a queue in addition to its name, so that empty queues count too.
const QUEUE_BYTES: usize = 256;

/// Bytes charged for an item in addition to its content.
const ITEM_BYTES: usize = 96;

/// Bytes charged for an event until the embedder takes it.
const EVENT_BYTES: usize = size_of::<QueueEvent>();

impl Queues {
    pub(crate) fn new(limit: usize) -> Queues {
        Queues { queues: Vec::new(), ids: HashMap::new(), events: Vec::new(), bytes: 0, limit }
    }

    pub(crate) fn register(
        &mut self,
        vm_id: &str,
        name: &[u8],
        vm: u64,
        plugin: PluginId,
    ) -> Result<QueueId, Status> {
        if let Some(queue) = self.resolve(vm_id, name) {
            self.queues[queue.0 as usize - 1].owner = (vm, plugin);
            return Ok(queue);
        }
        self.charge(name.len() + QUEUE_BYTES)?;
        self.queues.push(Queue { owner: (vm, plugin), items: VecDeque::new() });
        let queue = QueueId(self.queues.len() as u32);
        match self.ids.get_mut(vm_id) {
            Some(ids) => ids.insert(name.to_vec(), queue),
            None => self.ids.entry(vm_id.to_owned()).or_default().insert(name.to_vec(), queue),
        };
        Ok(queue)
    }

    pub(crate) fn resolve(&self, vm_id: &str, name: &[u8]) -> Option<QueueId> {
        self.ids.get(vm_id)?.get(name).copied()
    }

    pub(crate) fn enqueue(&mut self, id: u32, item: &[u8]) -> Result<(), Status> {
        let index = (id as usize).checked_sub(1).filter(|&index| index < self.queues.len());
        let index = index.ok_or(Status::NotFound)?;
        self.charge(item.len() + ITEM_BYTES + EVENT_BYTES)?;
        let queue = &mut self.queues[index];
        queue.items.push_back(item.to_vec());
        let (vm, plugin) = queue.owner;
        self.events.push(QueueEvent { vm, plugin, queue: QueueId(id) });
        Ok(())
    }

    /// The first item. The caller removes it with [`pop`](Self::pop) after copying it to the guest,
    /// so that it is not lost if copying fails.
    pub(crate) fn front(&self, id: u32) -> Result<&[u8], Status> {
        let index = (id as usize).checked_sub(1).ok_or(Status::NotFound)?;
        let queue = self.queues.get(index).ok_or(Status::NotFound)?;
        queue.items.front().map(Vec::as_slice).ok_or(Status::Empty)
    }

    pub(crate) fn pop(&mut self, id: u32) -> Option<Vec<u8>> {
        let queue = self.queues.get_mut((id as usize).checked_sub(1)?)?;
        let item = queue.items.pop_front()?;
        self.bytes -= item.len() + ITEM_BYTES;
        Some(item)
    }

    pub(crate) fn take_events(&mut self) -> Vec<QueueEvent> {
        self.bytes -= self.events.len() * EVENT_BYTES;
        std::mem::take(&mut self.events)
    }

    fn charge(&mut self, bytes: usize) -> Result<(), Status> {
        let bytes = self.bytes + bytes;
        if bytes > self.limit {
            return Err(Status::InternalFailure);
        }
        self.bytes = bytes;
        Ok(())
    }
}
