//! A proxy in memory: a test sets the values that the filter reads, and the host records its calls.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use sluice_filter::Headers;
use sluice_filter::host::{
    Buffer, Call, Direction, HeaderMap, Host, HostError, LogLevel, MetricKind, SharedValue,
};
use sluice_filter::plugin::Plugin;
use sluice_filter::stream::{Action, Stream};
use sluice_filter::vm::Vm;

/// When a test starts, in milliseconds since the Unix epoch.
pub(crate) const START_MS: u64 = 1_700_000_000_000;

/// Fields that a test can change.
pub(crate) type FieldList = Vec<(String, Vec<u8>)>;

pub(crate) fn field_list(pairs: &[(&str, &str)]) -> FieldList {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect()
}

/// A local reply that the host received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    /// The stream, if it is not the current one.
    pub(crate) context: Option<u32>,
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

/// A call that the host received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) cluster: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Option<String>,
    pub(crate) timeout_ms: u64,
}

#[derive(Debug, Default)]
pub(crate) struct MemoryHost {
    /// `None`: the host has no clock.
    pub(crate) now_ms: Option<u64>,
    pub(crate) configuration: Vec<u8>,
    pub(crate) request: FieldList,
    pub(crate) response: FieldList,
    /// `None`: the host accepts no trailers now.
    pub(crate) trailers: Option<FieldList>,
    pub(crate) call_response: FieldList,
    pub(crate) request_body: Vec<u8>,
    pub(crate) response_body: Vec<u8>,
    pub(crate) call_body: Vec<u8>,
    pub(crate) properties: BTreeMap<String, Vec<u8>>,
    pub(crate) shared: BTreeMap<String, (Vec<u8>, u32)>,
    /// The names in the order of their definition, and their values.
    pub(crate) metrics: Vec<(String, i64)>,
    pub(crate) log: Vec<(LogLevel, String)>,
    pub(crate) replies: Vec<Reply>,
    pub(crate) resets: Vec<u32>,
    /// The streams that the filter continued.
    pub(crate) continued: Vec<(u32, Direction)>,
    pub(crate) calls: Vec<Received>,
    pub(crate) tick_ms: Option<u64>,
    /// The arguments of the foreign function; `None`: the host does not have the function.
    pub(crate) decisions: Option<Vec<String>>,
    /// The streams that have ended.
    pub(crate) gone: BTreeSet<u32>,
    /// The methods that fail, by name.
    pub(crate) refused: BTreeSet<&'static str>,
    /// How many writes to shared data another VM wins.
    pub(crate) lost_writes: usize,
    /// Refuses to create a value in shared data under a condition.
    pub(crate) creates_unconditionally_only: bool,
    /// Every method that was called, but for log, in order.
    pub(crate) called: Vec<&'static str>,
}

impl MemoryHost {
    pub(crate) fn new() -> Self {
        Self { now_ms: Some(START_MS), ..Self::default() }
    }

    /// A host that calls itself Envoy.
    pub(crate) fn envoy() -> Self {
        let mut host = Self::new();
        host.set("xds.node.user_agent_name", b"envoy");
        host
    }

    pub(crate) fn set(&mut self, property: &str, value: &[u8]) {
        self.properties.insert(property.to_owned(), value.to_vec());
    }

    /// The next request arrives on this connection.
    pub(crate) fn connection(&mut self, id: u64) {
        self.set("connection.id", &id.to_le_bytes());
    }

    pub(crate) fn advance(&mut self, ms: u64) {
        self.now_ms = self.now_ms.map(|now| now + ms);
    }

    pub(crate) fn now(&self) -> u64 {
        self.now_ms.unwrap_or(START_MS)
    }

    /// Another VM writes to shared data.
    pub(crate) fn write_shared(&mut self, key: &str, value: &str) {
        let cas = self.shared.get(key).map_or(0, |(_, cas)| *cas) + 1;
        self.shared.insert(key.to_owned(), (value.as_bytes().to_vec(), cas));
    }

    pub(crate) fn shared_text(&self, key: &str) -> Option<String> {
        let (value, _) = self.shared.get(key)?;
        Some(String::from_utf8_lossy(value).into_owned())
    }

    pub(crate) fn metric_value(&self, name: &str) -> Option<i64> {
        self.metrics.iter().find(|(known, _)| known == name).map(|(_, value)| *value)
    }

    pub(crate) fn header_value(&self, map: HeaderMap, name: &str) -> Option<String> {
        let found = self.map(map).iter().find(|(known, _)| known == name);
        found.map(|(_, value)| String::from_utf8_lossy(value).into_owned())
    }

    /// The log lines with this text.
    pub(crate) fn logged(&self, text: &str) -> Vec<&(LogLevel, String)> {
        self.log.iter().filter(|(_, line)| line.contains(text)).collect()
    }

    fn map(&self, map: HeaderMap) -> &FieldList {
        match map {
            HeaderMap::Request => &self.request,
            HeaderMap::Response => &self.response,
            HeaderMap::ResponseTrailers => self.trailers.as_ref().expect("trailers"),
            HeaderMap::CallResponse => &self.call_response,
        }
    }

    fn map_mut(&mut self, map: HeaderMap) -> &mut FieldList {
        match map {
            HeaderMap::Request => &mut self.request,
            HeaderMap::Response => &mut self.response,
            HeaderMap::ResponseTrailers => self.trailers.as_mut().expect("trailers"),
            HeaderMap::CallResponse => &mut self.call_response,
        }
    }

    fn enter(&mut self, method: &'static str) -> Result<(), HostError> {
        self.called.push(method);
        if self.refused.contains(method) { Err(HostError::Status(10)) } else { Ok(()) }
    }
}

fn owned(headers: &[(&str, &str)]) -> Vec<(String, String)> {
    headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

impl Host for MemoryHost {
    fn log(&mut self, level: LogLevel, message: &str) {
        self.log.push((level, message.to_owned()));
    }

    fn now_ns(&mut self) -> Result<u64, HostError> {
        self.enter("now_ns")?;
        self.now_ms.map(|ms| ms * 1_000_000).ok_or(HostError::Status(10))
    }

    fn read_headers(&mut self, map: HeaderMap, into: &mut Headers) -> Result<(), HostError> {
        self.enter("read_headers")?;
        *into = self.map(map).iter().map(|(name, value)| (name, value)).collect();
        Ok(())
    }

    fn header(&mut self, map: HeaderMap, name: &str) -> Result<Option<&[u8]>, HostError> {
        self.enter("header")?;
        let found = self.map(map).iter().find(|(known, _)| known == name);
        Ok(found.map(|(_, value)| value.as_slice()))
    }

    fn set_header(&mut self, map: HeaderMap, name: &str, value: &str) -> Result<(), HostError> {
        self.enter("set_header")?;
        if map == HeaderMap::ResponseTrailers && self.trailers.is_none() {
            return Err(HostError::Status(2));
        }
        let fields = self.map_mut(map);
        fields.retain(|(known, _)| known != name);
        fields.push((name.to_owned(), value.as_bytes().to_vec()));
        Ok(())
    }

    fn remove_header(&mut self, map: HeaderMap, name: &str) -> Result<(), HostError> {
        self.enter("remove_header")?;
        self.map_mut(map).retain(|(known, _)| known != name);
        Ok(())
    }

    fn buffer(&mut self, buffer: Buffer, start: usize, size: usize) -> Result<&[u8], HostError> {
        self.enter("buffer")?;
        let bytes = match buffer {
            Buffer::RequestBody => &self.request_body,
            Buffer::ResponseBody => &self.response_body,
            Buffer::CallResponseBody => &self.call_body,
            Buffer::PluginConfiguration => &self.configuration,
        };
        let end = (start + size).min(bytes.len());
        Ok(bytes.get(start..end).unwrap_or_default())
    }

    fn replace_buffer(
        &mut self,
        buffer: Buffer,
        size: usize,
        bytes: &[u8],
    ) -> Result<(), HostError> {
        self.enter("replace_buffer")?;
        let body = match buffer {
            Buffer::RequestBody => &mut self.request_body,
            Buffer::ResponseBody => &mut self.response_body,
            other => panic!("the filter changes no {other:?}"),
        };
        body.splice(..size, bytes.iter().copied());
        Ok(())
    }

    fn property(&mut self, path: &[&str]) -> Result<Option<&[u8]>, HostError> {
        self.enter("property")?;
        Ok(self.properties.get(&path.join(".")).map(Vec::as_slice))
    }

    fn set_property(&mut self, name: &str, value: &[u8]) -> Result<(), HostError> {
        self.enter("set_property")?;
        self.set(name, value);
        Ok(())
    }

    fn reply(
        &mut self,
        status: u16,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<(), HostError> {
        self.enter("reply")?;
        let (headers, body) = (owned(headers), String::from_utf8_lossy(body).into_owned());
        self.replies.push(Reply { context: None, status, headers, body });
        Ok(())
    }

    fn reply_to(
        &mut self,
        context: u32,
        status: u16,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<(), HostError> {
        self.enter("reply_to")?;
        if self.gone.contains(&context) {
            return Err(HostError::NoStream);
        }
        let (headers, body) = (owned(headers), String::from_utf8_lossy(body).into_owned());
        self.replies.push(Reply { context: Some(context), status, headers, body });
        Ok(())
    }

    fn reset(&mut self, context: u32) -> Result<(), HostError> {
        self.enter("reset")?;
        if self.gone.contains(&context) {
            return Err(HostError::NoStream);
        }
        self.resets.push(context);
        Ok(())
    }

    fn continue_stream(&mut self, context: u32, direction: Direction) -> Result<(), HostError> {
        self.enter("continue_stream")?;
        if self.gone.contains(&context) {
            return Err(HostError::NoStream);
        }
        self.continued.push((context, direction));
        Ok(())
    }

    fn call(&mut self, call: &Call<'_>) -> Result<(), HostError> {
        self.enter("call")?;
        self.calls.push(Received {
            cluster: call.cluster.to_owned(),
            headers: owned(call.headers),
            body: call.body.map(|body| String::from_utf8_lossy(body).into_owned()),
            timeout_ms: call.timeout_ms,
        });
        Ok(())
    }

    fn shared_data(&mut self, key: &str) -> Result<SharedValue, HostError> {
        self.enter("shared_data")?;
        let found = self.shared.get(key).cloned();
        Ok(found.map_or_else(SharedValue::default, |(value, cas)| SharedValue {
            value: Some(value),
            cas: Some(cas),
        }))
    }

    fn set_shared_data(
        &mut self,
        key: &str,
        value: &[u8],
        cas: Option<u32>,
    ) -> Result<(), HostError> {
        self.enter("set_shared_data")?;
        if self.lost_writes > 0 {
            self.lost_writes -= 1;
            return Err(HostError::CasMismatch);
        }
        let is_free = match (cas, self.shared.get(key)) {
            (None, _) => true,
            (Some(_), None) => !self.creates_unconditionally_only,
            (Some(cas), Some((_, current))) => cas == *current,
        };
        if !is_free {
            return Err(HostError::CasMismatch);
        }
        self.write_shared(key, std::str::from_utf8(value).expect("the filter writes text"));
        Ok(())
    }

    fn define_metric(&mut self, _: MetricKind, name: &str) -> Result<u32, HostError> {
        self.enter("define_metric")?;
        // All VMs of a process share the value of a name.
        let known = self.metrics.iter().position(|(known, _)| known == name);
        let index = known.unwrap_or_else(|| {
            self.metrics.push((name.to_owned(), 0));
            self.metrics.len() - 1
        });
        Ok(u32::try_from(index).expect("few metrics"))
    }

    fn add_to_metric(&mut self, id: u32, change: i64) -> Result<(), HostError> {
        self.enter("add_to_metric")?;
        self.metrics[id as usize].1 += change;
        Ok(())
    }

    fn set_metric(&mut self, id: u32, value: u64) -> Result<(), HostError> {
        self.enter("set_metric")?;
        self.metrics[id as usize].1 = i64::try_from(value).expect("a small value");
        Ok(())
    }

    fn metric(&mut self, id: u32) -> Result<u64, HostError> {
        self.enter("metric")?;
        u64::try_from(self.metrics[id as usize].1).map_err(|_| HostError::Status(10))
    }

    fn call_foreign_function(&mut self, name: &str, argument: &[u8]) -> Result<(), HostError> {
        self.enter("call_foreign_function")?;
        assert_eq!(name, "sluice_decision");
        let decisions = self.decisions.as_mut().ok_or(HostError::Status(1))?;
        if !argument.is_empty() {
            decisions.push(String::from_utf8_lossy(argument).into_owned());
        }
        Ok(())
    }

    fn done(&mut self) -> Result<(), HostError> {
        self.enter("done")
    }

    fn set_tick_period(&mut self, ms: u64) -> Result<(), HostError> {
        self.enter("set_tick_period")?;
        self.tick_ms = Some(ms);
        Ok(())
    }
}

/// One worker of the proxy: a VM with one plugin.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) vm: Vm,
    pub(crate) plugin: Plugin,
    pub(crate) next_context: u32,
}

/// A stream with its context.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) stream: Stream,
    pub(crate) context: u32,
    pub(crate) action: Action,
}

impl Worker {
    pub(crate) fn unconfigured() -> Self {
        let mut vm = Vm::default();
        let plugin = Plugin::new(&mut vm);
        Self { vm, plugin, next_context: 1 }
    }

    /// A worker that has accepted this configuration.
    pub(crate) fn new(host: &mut MemoryHost, configuration: &Value) -> Self {
        let mut worker = Self::unconfigured();
        assert!(worker.configure(host, &configuration.to_string()), "{:?}", host.log);
        worker
    }

    /// Whether the plugin accepts the configuration.
    pub(crate) fn configure(&mut self, host: &mut MemoryHost, document: &str) -> bool {
        host.configuration = document.as_bytes().to_vec();
        self.plugin.on_configure(&mut self.vm, host, document.len())
    }

    /// One tick after the period that the plugin has set.
    pub(crate) fn tick(&mut self, host: &mut MemoryHost) {
        host.advance(host.tick_ms.expect("a tick period"));
        self.tick_now(host);
    }

    pub(crate) fn tick_now(&mut self, host: &mut MemoryHost) {
        let endings = self.plugin.on_tick(&mut self.vm, host);
        endings.iter().for_each(|ending| ending.carry_out(host));
    }

    pub(crate) fn ticks(&mut self, host: &mut MemoryHost, count: usize) {
        (0..count).for_each(|_| self.tick(host));
    }

    /// Request headers without a body.
    pub(crate) fn get(&mut self, host: &mut MemoryHost, path: &str) -> Open {
        self.request(host, "GET", path, &[], true)
    }

    pub(crate) fn request(
        &mut self,
        host: &mut MemoryHost,
        method: &str,
        path: &str,
        more: &[(&str, &str)],
        end_of_stream: bool,
    ) -> Open {
        let pseudo = [(":method", method), (":authority", "a"), (":path", path)];
        host.request = field_list(&pseudo.iter().chain(more).copied().collect::<Vec<_>>());
        host.request_body.clear();
        host.properties.remove("response.code_details");
        let context = self.next_context;
        self.next_context += 1;
        let mut stream = self.plugin.new_stream(&mut self.vm, context);
        let action = stream.on_request_headers(&mut self.vm, host, end_of_stream);
        Open { stream, context, action }
    }

    /// A chunk of the request body. Chunks stay in the buffer until the filter continues.
    pub(crate) fn upload(
        &mut self,
        host: &mut MemoryHost,
        open: &mut Open,
        chunk: &[u8],
        end_of_stream: bool,
    ) -> Action {
        host.request_body.extend_from_slice(chunk);
        let buffered = host.request_body.len();
        let action = open.stream.on_request_body(&mut self.vm, host, buffered, end_of_stream);
        if action != Action::Pause {
            host.request_body.clear();
        }
        action
    }

    pub(crate) fn respond(
        &mut self,
        host: &mut MemoryHost,
        open: &mut Open,
        fields: &[(&str, &str)],
        end_of_stream: bool,
    ) -> Action {
        host.response = field_list(fields);
        host.response_body.clear();
        open.stream.on_response_headers(&mut self.vm, host, end_of_stream)
    }

    /// A chunk of the response body. Returns what passes to the client.
    pub(crate) fn download(
        &mut self,
        host: &mut MemoryHost,
        open: &mut Open,
        chunk: &[u8],
        end_of_stream: bool,
    ) -> (Action, Vec<u8>) {
        host.response_body.extend_from_slice(chunk);
        let buffered = host.response_body.len();
        host.trailers = end_of_stream.then(Vec::new);
        let action = open.stream.on_response_body(&mut self.vm, host, buffered, end_of_stream);
        let passed = match action {
            Action::Continue => std::mem::take(&mut host.response_body),
            Action::Pause | Action::Discard => Vec::new(),
        };
        (action, passed)
    }

    /// The end of a stream, with what the proxy knows about why.
    pub(crate) fn end(&mut self, host: &mut MemoryHost, mut open: Open, details: Option<&str>) {
        if let Some(details) = details {
            host.set("response.code_details", details.as_bytes());
        }
        open.stream.on_log(&mut self.vm, host);
        open.stream.end(&mut self.vm);
        host.gone.insert(open.context);
    }

    /// A whole exchange: GET, a complete response without a body.
    pub(crate) fn exchange(&mut self, host: &mut MemoryHost, path: &str, status: &str) {
        let mut open = self.get(host, path);
        self.respond(host, &mut open, &[(":status", status)], true);
        self.end(host, open, None);
    }
}
