//! The filter as a proxy-wasm module: hands callbacks to the rules, and implements [`Host`] with
//! host calls.
//!
//! This file decides nothing. It lends the state of the VM to one callback at a time. While a tick
//! ends streams, the state is not borrowed, because the host may call back into those streams.

use std::cell::RefCell;
use std::time::{Duration, UNIX_EPOCH};

use proxy_wasm::hostcalls;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{
    Action as SdkAction, BufferType, ContextType, LogLevel as SdkLogLevel, MapType, MetricType,
    Status,
};

use crate::host::{Buffer, Call, HeaderMap, Host, HostError, LogLevel, MetricKind, SharedValue};
use crate::plugin::Plugin;
use crate::stream::{Action, Stream};
use crate::vm::Vm;

proxy_wasm::main! {{
    proxy_wasm::set_root_context(|_| Box::new(RootAdapter(with_vm(Plugin::new))));
}}

thread_local! {
    static VM: RefCell<Vm> = RefCell::default();
}

fn with_vm<T>(act: impl FnOnce(&mut Vm) -> T) -> T {
    VM.with_borrow_mut(act)
}

struct RootAdapter(Plugin);

impl Context for RootAdapter {
    fn on_http_call_response(&mut self, _: u32, headers: usize, body_size: usize, _: usize) {
        with_vm(|vm| self.0.on_http_call_response(vm, &mut HostCalls, headers, body_size));
    }

    fn on_done(&mut self) -> bool {
        with_vm(|vm| self.0.on_done(vm, &mut HostCalls))
    }
}

impl RootContext for RootAdapter {
    fn on_configure(&mut self, size: usize) -> bool {
        with_vm(|vm| self.0.on_configure(vm, &mut HostCalls, size))
    }

    fn on_tick(&mut self) {
        let endings = with_vm(|vm| self.0.on_tick(vm, &mut HostCalls));
        endings.iter().for_each(|ending| ending.carry_out(&mut HostCalls));
    }

    fn create_http_context(&self, context: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(StreamAdapter(with_vm(|vm| self.0.new_stream(vm, context)))))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

impl Drop for RootAdapter {
    fn drop(&mut self) {
        with_vm(|vm| self.0.end(vm));
    }
}

struct StreamAdapter(Stream);

impl Context for StreamAdapter {}

impl HttpContext for StreamAdapter {
    fn on_http_request_headers(&mut self, _: usize, end_of_stream: bool) -> SdkAction {
        with_vm(|vm| self.0.on_request_headers(vm, &mut HostCalls, end_of_stream)).into()
    }

    fn on_http_request_body(&mut self, buffered: usize, end_of_stream: bool) -> SdkAction {
        with_vm(|vm| self.0.on_request_body(vm, &mut HostCalls, buffered, end_of_stream)).into()
    }

    fn on_http_request_trailers(&mut self, _: usize) -> SdkAction {
        with_vm(|vm| self.0.on_request_trailers(vm, &mut HostCalls)).into()
    }

    fn on_http_response_headers(&mut self, _: usize, end_of_stream: bool) -> SdkAction {
        with_vm(|vm| self.0.on_response_headers(vm, &mut HostCalls, end_of_stream)).into()
    }

    fn on_http_response_body(&mut self, buffered: usize, end_of_stream: bool) -> SdkAction {
        with_vm(|vm| self.0.on_response_body(vm, &mut HostCalls, buffered, end_of_stream)).into()
    }

    fn on_http_response_trailers(&mut self, _: usize) -> SdkAction {
        with_vm(|vm| self.0.on_response_trailers(vm)).into()
    }

    fn on_log(&mut self) {
        with_vm(|vm| self.0.on_log(vm, &mut HostCalls));
    }
}

impl Drop for StreamAdapter {
    fn drop(&mut self) {
        with_vm(|vm| self.0.end(vm));
    }
}

impl From<Action> for SdkAction {
    fn from(action: Action) -> Self {
        match action {
            Action::Continue => Self::Continue,
            Action::Pause => Self::Pause,
        }
    }
}

impl From<Status> for HostError {
    fn from(status: Status) -> Self {
        match status {
            Status::CasMismatch => Self::CasMismatch,
            other => Self::Status(other as u32),
        }
    }
}

impl From<HeaderMap> for MapType {
    fn from(map: HeaderMap) -> Self {
        match map {
            HeaderMap::Request => Self::HttpRequestHeaders,
            HeaderMap::Response => Self::HttpResponseHeaders,
            HeaderMap::ResponseTrailers => Self::HttpResponseTrailers,
            HeaderMap::CallResponse => Self::HttpCallResponseHeaders,
        }
    }
}

impl From<Buffer> for BufferType {
    fn from(buffer: Buffer) -> Self {
        match buffer {
            Buffer::RequestBody => Self::HttpRequestBody,
            Buffer::ResponseBody => Self::HttpResponseBody,
            Buffer::CallResponseBody => Self::HttpCallResponseBody,
            Buffer::PluginConfiguration => Self::PluginConfiguration,
        }
    }
}

struct HostCalls;

impl HostCalls {
    fn set_current_stream(context: u32) -> Result<(), HostError> {
        hostcalls::set_effective_context(context).map_err(|_| HostError::NoStream)
    }
}

impl Host for HostCalls {
    fn log(&mut self, level: LogLevel, message: &str) {
        let level = match level {
            LogLevel::Info => SdkLogLevel::Info,
            LogLevel::Warn => SdkLogLevel::Warn,
            LogLevel::Error => SdkLogLevel::Error,
        };
        let _ = hostcalls::log(level, message);
    }

    fn now_ns(&mut self) -> Result<u64, HostError> {
        let since_epoch = hostcalls::get_current_time()?.duration_since(UNIX_EPOCH).ok();
        let ns = since_epoch.and_then(|since| u64::try_from(since.as_nanos()).ok());
        ns.ok_or(HostError::Status(Status::InternalFailure as u32))
    }

    fn headers(&mut self, map: HeaderMap) -> Result<Vec<(String, Vec<u8>)>, HostError> {
        Ok(hostcalls::get_map_bytes(map.into())?)
    }

    fn header(&mut self, map: HeaderMap, name: &str) -> Result<Option<Vec<u8>>, HostError> {
        Ok(hostcalls::get_map_value_bytes(map.into(), name)?)
    }

    fn set_header(&mut self, map: HeaderMap, name: &str, value: &str) -> Result<(), HostError> {
        Ok(hostcalls::set_map_value(map.into(), name, Some(value))?)
    }

    fn remove_header(&mut self, map: HeaderMap, name: &str) -> Result<(), HostError> {
        Ok(hostcalls::set_map_value(map.into(), name, None)?)
    }

    fn buffer(&mut self, buffer: Buffer, start: usize, size: usize) -> Result<Vec<u8>, HostError> {
        Ok(hostcalls::get_buffer(buffer.into(), start, size)?.unwrap_or_default())
    }

    fn replace_buffer(
        &mut self,
        buffer: Buffer,
        size: usize,
        bytes: &[u8],
    ) -> Result<(), HostError> {
        Ok(hostcalls::set_buffer(buffer.into(), 0, size, bytes)?)
    }

    fn property(&mut self, path: &[&str]) -> Result<Option<Vec<u8>>, HostError> {
        Ok(hostcalls::get_property(path.to_vec())?)
    }

    fn set_property(&mut self, name: &str, value: &[u8]) -> Result<(), HostError> {
        Ok(hostcalls::set_property(vec![name], Some(value))?)
    }

    fn reply(
        &mut self,
        status: u16,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<(), HostError> {
        Ok(hostcalls::send_http_response(status.into(), headers.to_vec(), Some(body))?)
    }

    fn reply_to(
        &mut self,
        context: u32,
        status: u16,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<(), HostError> {
        Self::set_current_stream(context)?;
        self.reply(status, headers, body)
    }

    fn reset(&mut self, context: u32) -> Result<(), HostError> {
        Self::set_current_stream(context)?;
        Ok(hostcalls::reset_http_response()?)
    }

    fn call(&mut self, call: &Call<'_>) -> Result<(), HostError> {
        let headers = call.headers.to_vec();
        let timeout = Duration::from_millis(call.timeout_ms);
        hostcalls::dispatch_http_call(call.cluster, headers, call.body, vec![], timeout)?;
        Ok(())
    }

    fn shared_data(&mut self, key: &str) -> Result<SharedValue, HostError> {
        let (value, cas) = hostcalls::get_shared_data(key)?;
        Ok(SharedValue { value, cas })
    }

    fn set_shared_data(
        &mut self,
        key: &str,
        value: &[u8],
        cas: Option<u32>,
    ) -> Result<(), HostError> {
        Ok(hostcalls::set_shared_data(key, Some(value), cas)?)
    }

    fn define_metric(&mut self, kind: MetricKind, name: &str) -> Result<u32, HostError> {
        let kind = match kind {
            MetricKind::Counter => MetricType::Counter,
            MetricKind::Gauge => MetricType::Gauge,
        };
        Ok(hostcalls::define_metric(kind, name)?)
    }

    fn add_to_metric(&mut self, id: u32, change: i64) -> Result<(), HostError> {
        Ok(hostcalls::increment_metric(id, change)?)
    }

    fn set_metric(&mut self, id: u32, value: u64) -> Result<(), HostError> {
        Ok(hostcalls::record_metric(id, value)?)
    }

    fn metric(&mut self, id: u32) -> Result<u64, HostError> {
        Ok(hostcalls::get_metric(id)?)
    }

    fn call_foreign_function(&mut self, name: &str, argument: &[u8]) -> Result<(), HostError> {
        hostcalls::call_foreign_function(name, Some(argument))?;
        Ok(())
    }

    fn done(&mut self) -> Result<(), HostError> {
        Ok(hostcalls::done()?)
    }

    fn set_tick_period(&mut self, ms: u64) -> Result<(), HostError> {
        Ok(hostcalls::set_tick_period(Duration::from_millis(ms))?)
    }
}
