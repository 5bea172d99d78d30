//! The upload of a request that the filter replies to itself: a command of the admin path, or a body
//! that the filter discards.

use crate::admin::{self, BODY_TIMEOUT_MS, MAX_BODY};
use crate::drain::Command;
use crate::host::{Buffer, Host, log_refusal, now_ms};
use crate::plugin_config::PluginConfig;
use crate::reply::LocalReply;
use crate::vm::Vm;

use super::request::{apply, send};
use super::state::{Action, Awaited, Stream};

impl Stream {
    /// Replies to a request, after the rest of its upload if the configuration wants that and the
    /// host delivers it. `declared` is the size of the rest, if it is known.
    pub(super) fn reply_after_upload(
        &mut self,
        vm: &mut Vm,
        host: &mut impl Host,
        config: &PluginConfig,
        reply: LocalReply,
        declared: Option<u64>,
    ) {
        let bounds = config.rules.lingering;
        let bounds = bounds.filter(|bounds| declared.is_none_or(|rest| rest <= bounds.max_bytes));
        let holding = vm.timers.holding_mut(self.plugin);
        if let Some(bounds) = bounds
            && !holding.is_impossible()
            && let Some(now) = now_ms(host)
        {
            // The body usually begins at once. If nothing arrives, the host may not deliver it.
            let refresh = config.rules.refresh();
            let longest =
                if holding.is_possible() { bounds.timeout } else { refresh.min(bounds.timeout) };
            vm.waiting_replies.add(self.context, now, longest.as_millis(), reply);
            self.awaited = Some(Awaited::Rest { left: bounds.max_bytes });
        } else {
            send(host, &reply);
        }
    }

    /// Waits for the command in the body of an admin request.
    pub(super) fn await_command(&mut self, vm: &mut Vm, host: &mut impl Host) {
        self.awaited = Some(Awaited::Command);
        if let Some(now) = now_ms(host) {
            vm.waiting_replies.add(self.context, now, BODY_TIMEOUT_MS, admin::no_body_reply());
        }
    }

    /// A part or the end of the upload arrived, of which `buffered` bytes are in the host's buffer.
    pub(super) fn on_awaited_body(
        &mut self,
        vm: &mut Vm,
        host: &mut impl Host,
        config: &PluginConfig,
        awaited: Awaited,
        buffered: usize,
        end_of_stream: bool,
    ) -> Action {
        vm.timers.holding_mut(self.plugin).body_arrived_while_held();
        match awaited {
            Awaited::Command => self.on_command_body(vm, host, config, buffered, end_of_stream),
            Awaited::Rest { left } => self.discard(vm, host, config, left, buffered, end_of_stream),
        }
    }

    fn on_command_body(
        &mut self,
        vm: &mut Vm,
        host: &mut impl Host,
        config: &PluginConfig,
        buffered: usize,
        end_of_stream: bool,
    ) -> Action {
        if buffered > MAX_BODY {
            self.stop_waiting(vm);
            let reply = admin::too_large_reply();
            if end_of_stream {
                send(host, &reply);
            } else {
                self.reply_after_upload(vm, host, config, reply, None);
            }
            if let Some(Awaited::Rest { left }) = self.awaited {
                return self.discard(vm, host, config, left, buffered, end_of_stream);
            }
        } else if end_of_stream {
            let body = host.buffer(Buffer::RequestBody, 0, buffered).unwrap_or_default();
            let command = Command::parse_strict(body);
            let reply = apply(vm, host, config, command);
            self.stop_waiting(vm);
            send(host, &reply);
        }
        Action::Pause
    }

    /// Discards a part of the upload, and replies after the last one.
    fn discard(
        &mut self,
        vm: &mut Vm,
        host: &mut impl Host,
        config: &PluginConfig,
        left: u64,
        buffered: usize,
        end_of_stream: bool,
    ) -> Action {
        let left = u64::try_from(buffered).ok().and_then(|size| left.checked_sub(size));
        let (Some(left), false) = (left, end_of_stream) else {
            if let Some(reply) = self.stop_waiting(vm) {
                send(host, &reply);
            }
            return Action::Pause;
        };
        // Empties what the host buffered before this chunk, and the chunk where a host knows no other
        // action than to pause.
        if buffered > 0 {
            let emptied = host.replace_buffer(Buffer::RequestBody, buffered, b"");
            log_refusal(host, emptied, "request body");
        }
        self.awaited = Some(Awaited::Rest { left });
        if let Some(bounds) = config.rules.lingering {
            vm.waiting_replies.extend(self.context, bounds.timeout.as_millis());
        }
        Action::Discard
    }

    /// Waits for nothing any more. Returns the reply that would have been sent at last.
    pub(super) fn stop_waiting(&mut self, vm: &mut Vm) -> Option<LocalReply> {
        self.awaited.take()?;
        vm.waiting_replies.take(self.context)
    }
}
