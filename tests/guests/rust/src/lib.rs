//! The specification's guest with the Rust SDK. Its contexts find the behavior of the stream and
//! run it.

mod calls;
mod messages;
mod raw;
mod services;
mod text;

use proxy_wasm::hostcalls;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, BufferType, ContextType, LogLevel, MapType};
use text::{header, say, text};

proxy_wasm::main! {{
    proxy_wasm::set_root_context(|_| Box::new(Plugin));
}}

struct Plugin;

impl Context for Plugin {}

impl RootContext for Plugin {
    fn on_configure(&mut self, size: usize) -> bool {
        let configuration = hostcalls::get_buffer(BufferType::PluginConfiguration, 0, size);
        say("configure", &text(configuration.ok().flatten()));
        true
    }

    fn on_tick(&mut self) {
        services::tick();
    }

    fn on_queue_ready(&mut self, queue: u32) {
        services::queue_ready(queue);
    }

    fn create_http_context(&self, id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Stream { id, behavior: String::new() }))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

/// A stream. The first part of the path names the behavior.
struct Stream {
    id: u32,
    behavior: String,
}

impl Context for Stream {
    fn on_done(&mut self) -> bool {
        if self.behavior == "done" {
            say("done", "done");
        }
        true
    }

    fn on_http_call_response(&mut self, _: u32, headers: usize, body: usize, trailers: usize) {
        calls::http_call_end(self, headers, body, trailers);
    }

    fn on_grpc_call_response(&mut self, _: u32, status: u32, size: usize) {
        match status {
            0 => calls::grpc_message(self, size),
            _ => calls::grpc_end(self, status),
        }
    }

    fn on_grpc_stream_initial_metadata(&mut self, _: u32, _: u32) {
        calls::grpc_initial(self);
    }

    fn on_grpc_stream_message(&mut self, _: u32, size: usize) {
        calls::grpc_message(self, size);
    }

    fn on_grpc_stream_trailing_metadata(&mut self, _: u32, _: u32) {
        calls::grpc_trailing(self);
    }

    fn on_grpc_stream_close(&mut self, _: u32, status: u32) {
        calls::grpc_end(self, status);
    }
}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        let path = header(MapType::HttpRequestHeaders, ":path");
        let path = path.strip_prefix('/').unwrap_or(&path);
        self.behavior = path.split('?').next().unwrap_or_default().to_owned();
        match &*self.behavior {
            "headers" => messages::headers_request(),
            "map" => messages::map_request(),
            "path" => messages::path_request(),
            "local-reply" | "local-reply-grpc" => messages::reply_request(self),
            "http-call-response" => Action::Continue,
            "grpc-call" | "grpc-stream" | "grpc-cancel" => calls::grpc_start(self),
            "tick" => services::tick_request(self.id),
            "shared-data" => services::shared_data(),
            "queue" => services::queue(),
            "metrics" => services::metrics(),
            "properties" => services::properties_request(),
            "clock" => services::clock(),
            "log" => services::log(),
            "foreign" => services::foreign(),
            "phase" => services::phase(),
            "trap" => panic!("the client asked for it"),
            name if name.starts_with("body-") => {
                messages::body_headers(self, MapType::HttpRequestHeaders)
            }
            name if name.starts_with("http-call") => {
                calls::http_call_start(self, MapType::HttpRequestHeaders)
            }
            _ => Action::Continue,
        }
    }

    fn on_http_request_body(&mut self, size: usize, end: bool) -> Action {
        match &*self.behavior {
            "local-reply-late" => messages::reply_body(self, end),
            name if name.starts_with("body-") => {
                messages::body_chunk(self, BufferType::HttpRequestBody, size, end)
            }
            _ => Action::Continue,
        }
    }

    fn on_http_response_headers(&mut self, _: usize, _: bool) -> Action {
        match &*self.behavior {
            "headers" => messages::headers_response(),
            "properties" => services::properties_response(),
            "http-call-response" => calls::http_call_start(self, MapType::HttpResponseHeaders),
            name if name.starts_with("body-") => {
                messages::body_headers(self, MapType::HttpResponseHeaders)
            }
            name if name.starts_with("local-reply") => messages::reply_response(self),
            _ => Action::Continue,
        }
    }

    fn on_http_response_body(&mut self, size: usize, end: bool) -> Action {
        match self.behavior.starts_with("body-") {
            true => messages::body_chunk(self, BufferType::HttpResponseBody, size, end),
            false => Action::Continue,
        }
    }

    fn on_log(&mut self) {
        if self.behavior == "done" {
            say("done", &format!("log {}", header(MapType::HttpResponseHeaders, ":status")));
        }
    }
}

/// The SDK drops the context in `proxy_on_delete`.
impl Drop for Stream {
    fn drop(&mut self) {
        if self.behavior == "done" {
            say("done", "delete");
        }
    }
}

/// Logs at a level.
fn log(level: LogLevel, line: &str) {
    let _ = hostcalls::log(level, line);
}
