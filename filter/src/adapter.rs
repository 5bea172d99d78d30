//! The filter as a proxy-wasm module: hands callbacks to the rules, and implements [`Host`] with
//! host calls.
//!
//! This file and those below it decide nothing. They speak the ABI themselves instead of using an
//! SDK: a proxy pays for every instruction of a request, and an SDK copies each header, allocates
//! each stream, and looks up each context in several maps.

mod abi;
mod callbacks;
mod result;

use crate::headers::Headers;
use crate::host::{
    Buffer, Call, Direction, HeaderMap, Host, HostError, LogLevel, MetricKind, SharedValue,
};

/// The host of the module. It keeps the memory of what it lends.
#[derive(Default)]
struct HostCalls {
    /// The value that a host call returned last.
    value: Vec<u8>,
    /// The path of a property, joined.
    path: Vec<u8>,
}

fn map_number(map: HeaderMap) -> u32 {
    match map {
        HeaderMap::Request => 0,
        HeaderMap::Response => 2,
        HeaderMap::ResponseTrailers => 3,
        HeaderMap::CallResponse => 6,
    }
}

fn buffer_number(buffer: Buffer) -> u32 {
    match buffer {
        Buffer::RequestBody => 0,
        Buffer::ResponseBody => 1,
        Buffer::CallResponseBody => 4,
        Buffer::PluginConfiguration => 7,
    }
}

/// Makes another stream the one that host calls act on.
fn set_current_stream(context: u32) -> Result<(), HostError> {
    abi::set_effective_context(context).map_err(|_| HostError::NoStream)
}

impl Host for HostCalls {
    fn log(&mut self, level: LogLevel, message: &str) {
        let level = match level {
            LogLevel::Info => 2,
            LogLevel::Warn => 3,
            LogLevel::Error => 4,
        };
        let _ = abi::log(level, message);
    }

    fn now_ns(&mut self) -> Result<u64, HostError> {
        abi::current_time()
    }

    fn read_headers(&mut self, map: HeaderMap, into: &mut Headers) -> Result<(), HostError> {
        abi::header_map(map_number(map), into.buffer_mut())
    }

    fn header(&mut self, map: HeaderMap, name: &str) -> Result<Option<&[u8]>, HostError> {
        let is_found = abi::header(map_number(map), name, &mut self.value)?;
        Ok(is_found.then_some(&*self.value))
    }

    fn set_header(&mut self, map: HeaderMap, name: &str, value: &str) -> Result<(), HostError> {
        abi::replace_header(map_number(map), name, value)
    }

    fn remove_header(&mut self, map: HeaderMap, name: &str) -> Result<(), HostError> {
        abi::remove_header(map_number(map), name)
    }

    fn buffer(&mut self, buffer: Buffer, start: usize, size: usize) -> Result<&[u8], HostError> {
        abi::buffer(buffer_number(buffer), start, size, &mut self.value)?;
        Ok(&self.value)
    }

    fn replace_buffer(
        &mut self,
        buffer: Buffer,
        size: usize,
        bytes: &[u8],
    ) -> Result<(), HostError> {
        abi::set_buffer(buffer_number(buffer), size, bytes)
    }

    fn property(&mut self, path: &[&str]) -> Result<Option<&[u8]>, HostError> {
        self.path.clear();
        for part in path {
            self.path.extend_from_slice(part.as_bytes());
            self.path.push(0);
        }
        // A zero byte separates the parts. None is at the end.
        self.path.pop();
        let is_found = abi::property(&self.path, &mut self.value)?;
        Ok((is_found && !self.value.is_empty()).then_some(&*self.value))
    }

    fn set_property(&mut self, name: &str, value: &[u8]) -> Result<(), HostError> {
        abi::set_property(name, value)
    }

    fn reply(
        &mut self,
        status: u16,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<(), HostError> {
        let headers: Headers = headers.iter().copied().collect();
        abi::send_local_response(status, headers.as_bytes(), body)
    }

    fn reply_to(
        &mut self,
        context: u32,
        status: u16,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<(), HostError> {
        set_current_stream(context)?;
        self.reply(status, headers, body)
    }

    fn reset(&mut self, context: u32) -> Result<(), HostError> {
        set_current_stream(context)?;
        abi::close_response()
    }

    fn continue_stream(&mut self, context: u32, direction: Direction) -> Result<(), HostError> {
        set_current_stream(context)?;
        abi::continue_stream(match direction {
            Direction::Request => abi::REQUEST_STREAM,
            Direction::Response => abi::RESPONSE_STREAM,
        })
    }

    fn call(&mut self, call: &Call<'_>) -> Result<(), HostError> {
        let headers: Headers = call.headers.iter().copied().collect();
        let body = call.body.unwrap_or_default();
        let timeout_ms = u32::try_from(call.timeout_ms).unwrap_or(u32::MAX);
        abi::http_call(call.cluster, headers.as_bytes(), body, timeout_ms)
    }

    fn shared_data(&mut self, key: &str) -> Result<SharedValue, HostError> {
        let cas = abi::shared_data(key, &mut self.value)?;
        let value = (!self.value.is_empty()).then(|| self.value.clone());
        Ok(SharedValue { value, cas: Some(cas).filter(|cas| *cas != 0) })
    }

    fn set_shared_data(
        &mut self,
        key: &str,
        value: &[u8],
        cas: Option<u32>,
    ) -> Result<(), HostError> {
        abi::set_shared_data(key, value, cas.unwrap_or(0))
    }

    fn define_metric(&mut self, kind: MetricKind, name: &str) -> Result<u32, HostError> {
        let kind = match kind {
            MetricKind::Counter => 0,
            MetricKind::Gauge => 1,
        };
        abi::define_metric(kind, name)
    }

    fn add_to_metric(&mut self, id: u32, change: i64) -> Result<(), HostError> {
        abi::increment_metric(id, change)
    }

    fn set_metric(&mut self, id: u32, value: u64) -> Result<(), HostError> {
        abi::record_metric(id, value)
    }

    fn metric(&mut self, id: u32) -> Result<u64, HostError> {
        abi::metric(id)
    }

    fn call_foreign_function(&mut self, name: &str, argument: &[u8]) -> Result<(), HostError> {
        abi::call_foreign_function(name, argument, &mut self.value)
    }

    fn done(&mut self) -> Result<(), HostError> {
        abi::done()
    }

    fn set_tick_period(&mut self, ms: u64) -> Result<(), HostError> {
        abi::set_tick_period(u32::try_from(ms).unwrap_or(u32::MAX))
    }
}
