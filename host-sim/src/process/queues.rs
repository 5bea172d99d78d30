//! The shared queues of a process: any guest fills them, the plugin that registered one empties it.

use std::collections::VecDeque;

use crate::abi::Status;
use crate::stream::{PluginId, QueueId};

/// Somebody must be told that a queue has an item: call
/// [`queue_ready`](crate::Vm::queue_ready) of that virtual machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueEvent {
    /// The virtual machine, as [`Vm::id`](crate::Vm::id) gives it.
    pub vm: u64,
    /// Its plugin context that registered the queue last.
    pub plugin: PluginId,
    /// The queue.
    pub queue: QueueId,
}

#[derive(Debug)]
struct Queue {
    vm_id: String,
    name: Vec<u8>,
    /// Who is told, the last to have registered.
    owner: (u64, PluginId),
    items: VecDeque<Vec<u8>>,
}

/// All queues of a process; a queue's number is its place and one.
#[derive(Debug)]
pub(crate) struct Queues {
    queues: Vec<Queue>,
    events: Vec<QueueEvent>,
    bytes: usize,
    limit: usize,
}

/// What a queue or an item costs beside its bytes, so that empty ones are not free.
const OVERHEAD: usize = 64;

/// What an event costs until it is taken.
const EVENT: usize = size_of::<QueueEvent>();

impl Queues {
    pub(crate) fn new(limit: usize) -> Queues {
        Queues { queues: Vec::new(), events: Vec::new(), bytes: 0, limit }
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
        self.charge(name.len())?;
        self.queues.push(Queue {
            vm_id: vm_id.to_owned(),
            name: name.to_vec(),
            owner: (vm, plugin),
            items: VecDeque::new(),
        });
        Ok(QueueId(self.queues.len() as u32))
    }

    pub(crate) fn resolve(&self, vm_id: &str, name: &[u8]) -> Option<QueueId> {
        let same = |queue: &Queue| queue.vm_id == vm_id && queue.name == name;
        self.queues.iter().position(same).map(|index| QueueId(index as u32 + 1))
    }

    pub(crate) fn enqueue(&mut self, id: u32, item: &[u8]) -> Result<(), Status> {
        let index = (id as usize).checked_sub(1).filter(|&index| index < self.queues.len());
        let index = index.ok_or(Status::NotFound)?;
        self.charge(item.len() + EVENT)?;
        let queue = &mut self.queues[index];
        queue.items.push_back(item.to_vec());
        let (vm, plugin) = queue.owner;
        self.events.push(QueueEvent { vm, plugin, queue: QueueId(id) });
        Ok(())
    }

    /// The item at the front, without taking it, so that it is not lost where it cannot be handed over.
    pub(crate) fn front(&self, id: u32) -> Result<&[u8], Status> {
        let index = (id as usize).checked_sub(1).ok_or(Status::NotFound)?;
        let queue = self.queues.get(index).ok_or(Status::NotFound)?;
        queue.items.front().map(Vec::as_slice).ok_or(Status::Empty)
    }

    pub(crate) fn pop(&mut self, id: u32) -> Option<Vec<u8>> {
        let queue = self.queues.get_mut((id as usize).checked_sub(1)?)?;
        let item = queue.items.pop_front()?;
        self.bytes -= item.len() + OVERHEAD;
        Some(item)
    }

    pub(crate) fn take_events(&mut self) -> Vec<QueueEvent> {
        self.bytes -= self.events.len() * EVENT;
        std::mem::take(&mut self.events)
    }

    fn charge(&mut self, bytes: usize) -> Result<(), Status> {
        let bytes = self.bytes + bytes + OVERHEAD;
        if bytes > self.limit {
            return Err(Status::InternalFailure);
        }
        self.bytes = bytes;
        Ok(())
    }
}
