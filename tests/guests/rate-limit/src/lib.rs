//! A rate limiter as people write it with the Rust SDK: its high-level functions only, which panic
//! on each status that the SDK does not expect. A host that returns another status than Envoy
//! crashes it.
//!
//! The local limit counts in shared data with a compare-and-swap loop. With the header
//! `x-remote: grpc` or `http`, the filter asks a service, whose name is in `x-cluster`. A service
//! that fails lets the request pass. Requests over the limit are counted, and reported to the
//! plugin through a queue.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use proxy_wasm::hostcalls;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType, LogLevel, MetricType, Status};

/// The requests that each user may send.
const LIMIT: u32 = 2;
/// The most attempts to count a request.
const ATTEMPTS: u32 = 10;
const TIMEOUT: Duration = Duration::from_millis(200);

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|_| Box::new(Plugin::default()));
}}

/// The ids that all streams need.
#[derive(Default)]
struct Shared {
    queue: Cell<u32>,
    limited: Cell<u32>,
    failed: Cell<u32>,
}

#[derive(Default)]
struct Plugin {
    shared: Rc<Shared>,
    ticks: u32,
}

impl Context for Plugin {}

impl RootContext for Plugin {
    fn on_configure(&mut self, _: usize) -> bool {
        let metric = |kind, name| hostcalls::define_metric(kind, name).unwrap();
        self.shared.queue.set(self.register_shared_queue("over-limit"));
        self.shared.limited.set(metric(MetricType::Counter, "rate_limit_limited"));
        self.shared.failed.set(metric(MetricType::Gauge, "rate_limit_failed"));
        self.set_tick_period(Duration::from_millis(50));
        true
    }

    fn on_queue_ready(&mut self, queue: u32) {
        while let Ok(Some(user)) = self.dequeue_shared_queue(queue) {
            say(&format!("over the limit: {}", String::from_utf8_lossy(&user)));
        }
    }

    fn on_tick(&mut self) {
        self.ticks += 1;
        if self.ticks == 1 {
            // Without a window, the counters would only grow.
            let _ = self.set_shared_data("rate-limit.window", Some(b"1"), None);
        }
        self.set_tick_period(Duration::ZERO);
    }

    fn create_http_context(&self, _: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Stream { shared: Rc::clone(&self.shared), user: String::new() }))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

struct Stream {
    shared: Rc<Shared>,
    user: String,
}

fn say(text: &str) {
    hostcalls::log(LogLevel::Info, &format!("rate-limit: {text}")).unwrap();
}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        let Some(user) = self.get_http_request_header("x-user") else { return Action::Continue };
        self.user = user;
        let cluster = self.get_http_request_header("x-cluster").unwrap_or_default();
        let call = match self.get_http_request_header("x-remote").as_deref() {
            Some("grpc") => self.ask_with_grpc(&cluster),
            Some(_) => self.ask_with_http(&cluster),
            None => return self.count(),
        };
        match call {
            Ok(_) => Action::Pause,
            Err(status) => {
                say(&format!("the call failed: {status:?}"));
                self.let_pass("no-service");
                Action::Continue
            }
        }
    }

    fn on_http_response_headers(&mut self, _: usize, _: bool) -> Action {
        self.set_http_response_header("x-ratelimit-limit", Some(&LIMIT.to_string()));
        Action::Continue
    }
}

impl Context for Stream {
    fn on_http_call_response(&mut self, _: u32, headers: usize, body: usize, _: usize) {
        if headers == 0 {
            say("no response");
            self.let_pass("no-response");
            return self.resume_http_request();
        }
        let status = self.get_http_call_response_header(":status").unwrap_or_default();
        let answer = self.get_http_call_response_body(0, body).unwrap_or_default();
        say(&format!("service: {status} {}", String::from_utf8_lossy(&answer)));
        match &*status {
            "200" => self.resume_http_request(),
            "429" => self.refuse(),
            _ => {
                self.let_pass("error");
                self.resume_http_request();
            }
        }
    }

    fn on_grpc_call_response(&mut self, _: u32, status: u32, size: usize) {
        if status != 0 {
            let (code, message) = self.get_grpc_status();
            say(&format!("service failed: {code} {}", message.unwrap_or_default()));
            self.let_pass("error");
            return self.resume_http_request();
        }
        let answer = self.get_grpc_call_response_body(0, size).unwrap_or_default();
        say(&format!("service: {}", String::from_utf8_lossy(&answer)));
        match &*answer {
            b"over" => self.refuse(),
            _ => self.resume_http_request(),
        }
    }
}

impl Stream {
    /// Counts the request in shared data.
    fn count(&self) -> Action {
        let key = format!("rate-limit.{}", self.user);
        for _ in 0..ATTEMPTS {
            let (bytes, cas) = self.get_shared_data(&key);
            let count = bytes
                .and_then(|bytes| Some(u32::from_le_bytes(bytes.try_into().ok()?)))
                .unwrap_or_default();
            if count >= LIMIT {
                self.refuse();
                return Action::Pause;
            }
            match self.set_shared_data(&key, Some(&(count + 1).to_le_bytes()), cas) {
                Ok(()) => {
                    let left = (LIMIT - count - 1).to_string();
                    self.set_http_request_header("x-ratelimit-remaining", Some(&left));
                    return Action::Continue;
                }
                Err(Status::CasMismatch) => {}
                Err(status) => panic!("cannot count: {status:?}"),
            }
        }
        self.let_pass("contention");
        Action::Continue
    }

    fn ask_with_grpc(&self, cluster: &str) -> Result<u32, Status> {
        let service = "envoy.service.ratelimit.v3.RateLimitService";
        let message = Some(self.user.as_bytes());
        self.dispatch_grpc_call(cluster, service, "ShouldRateLimit", vec![], message, TIMEOUT)
    }

    fn ask_with_http(&self, cluster: &str) -> Result<u32, Status> {
        let headers = vec![
            (":method", "GET"),
            (":path", "/limit"),
            (":authority", "limits.example"),
            ("x-asked", &*self.user),
        ];
        self.dispatch_http_call(cluster, headers, None, vec![], TIMEOUT)
    }

    fn refuse(&self) {
        hostcalls::increment_metric(self.shared.limited.get(), 1).unwrap();
        self.enqueue_shared_queue(self.shared.queue.get(), Some(self.user.as_bytes())).unwrap();
        self.send_http_response(429, vec![("retry-after", "1")], Some(b"too many requests"));
    }

    /// The request passes although it was not counted.
    fn let_pass(&self, reason: &str) {
        hostcalls::increment_metric(self.shared.failed.get(), 1).unwrap();
        self.set_http_request_header("x-ratelimit-skipped", Some(reason));
    }
}
