//! Runs the callbacks of a plugin: the part of a proxy that the crate leaves to its embedder.

use std::borrow::Cow;
use std::sync::Arc;

use proxy_wasm_host::abi::v0_2_1::types::{Action, LogLevel};
use proxy_wasm_host::abi::v0_2_1::{
    CallScope, ContextId, GrpcStatus, Guest, GuestError, HeaderPairs, Host, HttpCallResponse,
    InMemoryStore, PluginConfig, Started, StreamKind, VmServices,
};
use proxy_wasm_host::{Engine, HeaderMap, HeaderMapExt, Limits, Module, VecHeaderMap};
use serde_json::{Value, json};

use crate::exchange::{Exchange, Phase, chunks, headers};
use crate::services::{Call, Kind, Services};

/// A guest that has started.
pub(crate) struct Plugin {
    guest: Guest,
    root: ContextId,
    services: Services,
}

impl Plugin {
    pub(crate) fn start(input: &Value) -> Result<Self, String> {
        let text = |field: &str| input[field].as_str().unwrap_or_default().to_owned();
        let wasm = std::fs::read(text("module")).map_err(|error| error.to_string())?;
        let sentence = |error: &dyn std::error::Error| {
            let mut sentence = error.to_string();
            let mut source = error.source();
            while let Some(cause) = source {
                sentence += &format!(": {cause}");
                source = cause.source();
            }
            sentence
        };
        let engine = Engine::new().map_err(|error| sentence(&error))?;
        let module = Module::new(&engine, &wasm).map_err(|error| sentence(&error))?;
        let host = Host::new(&engine).map_err(|error| sentence(&error))?;
        let services = Services::default();
        let queue_events = services.clone();
        let store = InMemoryStore::new().with_enqueue_observer(Arc::new(move |item| {
            queue_events.lock().queues.push(item.queue);
        }));
        let vm = VmServices::new(Arc::new(services.clone()))
            .with_log_level(LogLevel::Trace)
            .with_vm_id(text("vm_id"))
            .with_shared(Arc::new(store))
            .with_callouts(Arc::new(services.clone()));
        let mut guest =
            Guest::new(&host, &module, vm, &Limits::default()).map_err(|error| sentence(&error))?;
        let plugin =
            PluginConfig::new().with_name(text("plugin")).with_configuration(text("configuration"));
        match guest.start(plugin).map_err(|error| sentence(&error))? {
            Started::Serving(root) => Ok(Self { guest, root, services }),
            _ => Err("the plugin refused to start".to_owned()),
        }
    }

    /// Runs a row; returns what the guest logged and the client received.
    pub(crate) fn run(&mut self, row: &Value) -> Value {
        self.services.lock().log.clear();
        let (root, services) = (self.root, self.services.clone());
        let (result, exchange) = self
            .guest
            .with(Exchange::default(), |scope| Run { root, row, services }.exchange(scope));
        let log = std::mem::take(&mut self.services.lock().log);
        match result {
            Ok(()) => json!({
                "log": log,
                "status": exchange.response.get(b":status").map(|status| text_of(&status)),
                "headers": pairs_of(&exchange.response),
                "body": text_of(&exchange.response_body),
                "upstream": (!exchange.is_answered).then(|| json!({
                    "headers": pairs_of(&exchange.request),
                    "body": text_of(&exchange.request_body),
                })),
            }),
            Err(error) => json!({ "log": log, "error": error.to_string() }),
        }
    }
}

fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn pairs_of(map: &VecHeaderMap) -> Vec<Value> {
    map.pairs().iter().map(|(name, value)| json!([text_of(name), text_of(value)])).collect()
}

struct Run<'r> {
    root: ContextId,
    row: &'r Value,
    services: Services,
}

type Scope<'a> = CallScope<'a, Exchange>;

impl Run<'_> {
    fn exchange(&self, scope: &mut Scope<'_>) -> Result<(), GuestError> {
        let stream = scope.on_context_create(Some(self.root))?;
        scope.expect_stream_kind(stream, StreamKind::Http)?;
        let body = chunks(&self.row["request"]["body"]);
        scope.stream_mut().request = self.request();
        let count = scope.stream().request.len() as u32;
        let action = scope.on_request_headers(stream, count, body.is_empty())?;
        let mut replied = self.wait(scope, action)?;
        if !replied && !body.is_empty() {
            scope.stream_mut().phase = Phase::RequestBody;
            replied = self
                .body(scope, &body, |scope, size, end| scope.on_request_body(stream, size, end))?;
        }
        scope.stream_mut().is_answered = replied;
        if replied {
            Self::local_reply(scope);
        } else {
            self.response(scope, stream)?;
        }
        scope.stream_mut().phase = Phase::Ended;
        scope.on_done(stream)?;
        scope.on_log(stream)?;
        scope.on_delete(stream)?;
        Ok(())
    }

    fn request(&self) -> VecHeaderMap {
        let request = &self.row["request"];
        let text = |field: &str, otherwise: &str| {
            request[field].as_str().unwrap_or(otherwise).as_bytes().to_vec()
        };
        let mut all = vec![
            (b":method".to_vec(), text("method", "GET")),
            (b":scheme".to_vec(), text("scheme", "http")),
            (b":authority".to_vec(), text("authority", "localhost")),
            (b":path".to_vec(), text("path", "/")),
        ];
        all.extend(headers(&request["headers"]));
        all.into()
    }

    fn response(&self, scope: &mut Scope<'_>, stream: ContextId) -> Result<(), GuestError> {
        let upstream = &self.row["upstream"];
        let status = upstream["status"].as_u64().unwrap_or(200).to_string();
        let mut all = vec![(b":status".to_vec(), status.into_bytes())];
        all.extend(headers(&upstream["headers"]));
        let body = chunks(&upstream["body"]);
        scope.stream_mut().response = all.into();
        scope.stream_mut().phase = Phase::ResponseHeaders;
        let count = scope.stream().response.len() as u32;
        let action = scope.on_response_headers(stream, count, body.is_empty())?;
        let mut replied = self.wait(scope, action)?;
        if !replied && !body.is_empty() {
            scope.stream_mut().phase = Phase::ResponseBody;
            replied = self
                .body(scope, &body, |scope, size, end| scope.on_response_body(stream, size, end))?;
        }
        if replied {
            Self::local_reply(scope);
        }
        Ok(())
    }

    /// Runs a body callback for each chunk. A chunk that the guest does not pause is forwarded, and
    /// the next callback starts with an empty buffer.
    fn body<'a>(
        &self,
        scope: &mut Scope<'a>,
        chunks: &[Vec<u8>],
        mut run: impl FnMut(&mut Scope<'a>, u32, bool) -> Result<Action, GuestError>,
    ) -> Result<bool, GuestError> {
        let mut forwarded = Vec::new();
        let mut replied = false;
        for (number, chunk) in chunks.iter().enumerate() {
            let end = number + 1 == chunks.len();
            let buffer = current_body(scope);
            buffer.extend_from_slice(chunk);
            let size = buffer.len() as u32;
            let action = run(scope, size, end)?;
            if end {
                replied = self.wait(scope, action)?;
            }
            if end || action == Action::Continue {
                forwarded.append(current_body(scope));
            }
            if scope.stream().reply.is_some() {
                return Ok(true);
            }
        }
        *current_body(scope) = forwarded;
        Ok(replied)
    }

    /// Delivers results of calls and ticks until the guest continues; returns whether it replied.
    fn wait(&self, scope: &mut Scope<'_>, action: Action) -> Result<bool, GuestError> {
        self.deliver_queues(scope)?;
        scope.stream_mut().is_continued = action == Action::Continue;
        // A guest that never continues ends the loop.
        for _ in 0..100 {
            let exchange = scope.stream();
            if exchange.reply.is_some() || exchange.is_continued {
                break;
            }
            let call = self.services.lock().calls.pop();
            if let Some(call) = call {
                self.deliver(scope, &call)?;
            } else if scope.guest().tick_period(self.root).is_some() {
                scope.on_tick(self.root)?;
            }
            self.deliver_queues(scope)?;
        }
        self.services.lock().calls.clear();
        Ok(scope.stream().reply.is_some())
    }

    fn deliver_queues(&self, scope: &mut Scope<'_>) -> Result<(), GuestError> {
        let queues = std::mem::take(&mut self.services.lock().queues);
        for queue in queues {
            scope.on_queue_ready(self.root, queue)?;
        }
        Ok(())
    }

    /// Delivers the result of a call, as the row states it.
    fn deliver(&self, scope: &mut Scope<'_>, call: &Call) -> Result<(), GuestError> {
        let respond = &self.row["clusters"][&call.cluster];
        let is_complete = respond["end"].as_str().unwrap_or("complete") == "complete";
        let trailers = headers(&respond["trailers"]);
        if call.kind == Kind::Http {
            let response = match is_complete {
                true => {
                    let status = respond["status"].as_u64().unwrap_or(200).to_string();
                    let mut all = vec![(b":status".to_vec(), status.into_bytes())];
                    all.extend(headers(&respond["headers"]));
                    let body = respond["body"].as_str().unwrap_or_default().as_bytes().to_vec();
                    HttpCallResponse::received(pairs(all)).with_body(body)
                }
                false => HttpCallResponse::failed(),
            };
            return scope.on_http_call_response(call.context, call.id, response);
        }
        let value = |name: &str| {
            let all = trailers.iter().cloned().chain(headers(&respond["headers"]));
            let mut named = all.filter(|(found, _)| *found == name.as_bytes());
            named.next().map(|(_, value)| text_of(&value))
        };
        let http_status = respond["status"].as_u64().unwrap_or(200);
        let has_trailers = !respond["trailers"].is_null();
        let code = match value("grpc-status").and_then(|code| code.parse().ok()) {
            _ if !is_complete => 14,
            Some(code) => code,
            None if http_status != 200 => 14,
            None if has_trailers => 2,
            None => 0,
        };
        let message = value("grpc-message").unwrap_or_default();
        let is_stream = call.kind == Kind::GrpcStream;
        if is_stream && is_complete {
            let initial = pairs(headers(&respond["headers"]));
            scope.on_grpc_receive_initial_metadata(call.context, call.id, initial)?;
        }
        if is_complete && (is_stream || code == 0) {
            for message in respond["messages"].as_array().into_iter().flatten() {
                let bytes = message.as_str().unwrap_or_default().as_bytes();
                scope.on_grpc_receive(call.context, call.id, Cow::Borrowed(bytes))?;
            }
        }
        if is_stream && is_complete {
            let trailing = pairs(trailers.clone());
            scope.on_grpc_receive_trailing_metadata(call.context, call.id, trailing)?;
        }
        match is_stream || code != 0 {
            true => scope.on_grpc_close(call.context, call.id, GrpcStatus::new(code, message)),
            false => Ok(()),
        }
    }

    /// The client receives the guest's reply. It is no response from the upstream, for which the ABI
    /// has the response callbacks.
    fn local_reply(scope: &mut Scope<'_>) {
        let exchange = scope.stream_mut();
        let Some(reply) = exchange.reply.take() else { return };
        let mut all = vec![(b":status".to_vec(), reply.status.to_string().into_bytes())];
        all.extend(reply.headers.pairs());
        exchange.response = all.into();
        exchange.response_body = reply.body;
    }
}

fn current_body<'a>(scope: &'a mut Scope<'_>) -> &'a mut Vec<u8> {
    let exchange = scope.stream_mut();
    match exchange.phase {
        Phase::RequestBody => &mut exchange.request_body,
        _ => &mut exchange.response_body,
    }
}

fn pairs(headers: Vec<(Vec<u8>, Vec<u8>)>) -> HeaderPairs<'static> {
    let owned = |(name, value)| (Cow::Owned(name), Cow::Owned(value));
    headers.into_iter().map(owned).collect()
}
