//! A guest that makes host calls in its callbacks and logs what each call returned. The same module
//! runs in Envoy and in the simulator, and both must log the same lines.
//!
//! A line is `> CALLBACK PARAMETERS`, or `TAG STATUS VALUES BYTES` for a call: the result, the
//! numbers that it wrote, and the bytes that it returned in hexadecimal.

use std::collections::BTreeSet;
use std::fmt::Write as _;

/// What every line begins with, so that it is found in Envoy's log.
pub const PREFIX: &str = "host-call: ";

/// The parameters of the host functions: `i` is a number, `p` a pointer and a length, `o` a pointer
/// to a number that the host writes, and `r` the two pointers of returned bytes.
const FUNCTIONS: &[(&str, &str)] = &[
    ("get_buffer_bytes", "iiir"),
    ("set_buffer_bytes", "iiip"),
    ("get_buffer_status", "ioo"),
    ("get_header_map_size", "io"),
    ("get_header_map_pairs", "ir"),
    ("set_header_map_pairs", "ip"),
    ("get_header_map_value", "ipr"),
    ("add_header_map_value", "ipp"),
    ("replace_header_map_value", "ipp"),
    ("remove_header_map_value", "ip"),
    ("send_local_response", "ipppi"),
    ("get_status", "or"),
    ("http_call", "ppppio"),
    ("grpc_call", "pppppio"),
    ("grpc_stream", "ppppo"),
    ("grpc_send", "ipi"),
    ("grpc_cancel", "i"),
    ("grpc_close", "i"),
    ("set_tick_period_milliseconds", "i"),
];

/// The callbacks: the number of parameters, and whether there is a result.
const CALLBACKS: &[(&str, usize, bool)] = &[
    ("configure", 2, true),
    ("tick", 1, false),
    ("request_headers", 3, true),
    ("request_body", 3, true),
    ("request_trailers", 2, true),
    ("response_headers", 3, true),
    ("response_body", 3, true),
    ("response_trailers", 2, true),
    ("http_call_response", 5, false),
    ("grpc_receive_initial_metadata", 3, false),
    ("grpc_receive", 3, false),
    ("grpc_receive_trailing_metadata", 3, false),
    ("grpc_close", 3, false),
    ("log", 1, false),
];

/// An argument of a host call.
#[derive(Debug, Clone)]
pub enum Arg {
    /// A number; negative ones wrap around.
    Number(i64),
    /// A pointer and a length.
    Bytes(Vec<u8>),
    /// The bytes that the previous call returned.
    Returned,
}

impl From<i64> for Arg {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<&str> for Arg {
    fn from(text: &str) -> Self {
        Self::Bytes(text.as_bytes().to_vec())
    }
}

/// A serialized header map.
pub fn pairs(pairs: &[(&str, &str)]) -> Arg {
    let mut bytes = (pairs.len() as u32).to_le_bytes().to_vec();
    for (name, value) in pairs {
        bytes.extend((name.len() as u32).to_le_bytes());
        bytes.extend((value.len() as u32).to_le_bytes());
    }
    for part in pairs.iter().flat_map(|(name, value)| [name, value]) {
        bytes.extend(part.as_bytes());
        bytes.push(0);
    }
    Arg::Bytes(bytes)
}

/// The names and values of a serialized header map in hexadecimal, as a line contains it.
///
/// # Panics
/// If the bytes are not a header map.
pub fn parse_pairs(hex: &str) -> Vec<(String, String)> {
    let bytes: Vec<u8> = (0..hex.len() / 2)
        .map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).expect("hexadecimal digits"))
        .collect();
    let number = |at: usize| {
        let digits = bytes[at..at + 4].try_into().expect("four bytes");
        u32::from_le_bytes(digits) as usize
    };
    if bytes.is_empty() {
        return Vec::new();
    }
    let count = number(0);
    let mut at = 4 + 8 * count;
    let mut text = |len: usize| {
        let text = String::from_utf8_lossy(&bytes[at..at + len]).into_owned();
        at += len + 1;
        text
    };
    let lengths = |index: usize| (number(4 + 8 * index), number(8 + 8 * index));
    (0..count)
        .map(lengths)
        .map(|(name, value)| {
            let name = text(name);
            (name, text(value))
        })
        .collect()
}

/// A guest under construction.
#[derive(Debug, Default)]
pub struct CallGuest {
    functions: String,
    data: String,
    end: usize,
    imports: BTreeSet<&'static str>,
}

/// A host call: a tag for its line, the name of the function without `proxy_`, and the arguments.
#[derive(Debug, Clone)]
pub struct HostCall {
    tag: String,
    name: &'static str,
    arguments: Vec<Arg>,
}

/// Creates a host call.
pub fn call<const N: usize>(tag: &str, name: &'static str, arguments: [Arg; N]) -> HostCall {
    HostCall { tag: tag.to_owned(), name, arguments: arguments.to_vec() }
}

const DATA: usize = 0x1_0000;

impl CallGuest {
    /// Adds the callback `proxy_on_NAME`, which makes these calls and returns this value.
    #[must_use]
    pub fn on(self, name: &str, calls: &[HostCall], result: u32) -> Self {
        self.on_if(name, "", calls, result)
    }

    /// As [`on`](Self::on). The callback first executes `guard`, WebAssembly text that can return.
    ///
    /// # Panics
    /// If a name is unknown.
    #[must_use]
    pub fn on_if(mut self, name: &str, guard: &str, calls: &[HostCall], result: u32) -> Self {
        let known = CALLBACKS.iter().find(|(known, ..)| *known == name);
        let (_, count, has_result) = known.unwrap_or_else(|| panic!("no callback {name}"));
        let (at, len) = self.put(format!("{PREFIX}> {name}").as_bytes());
        let params: String = (0..*count).map(|index| format!("(param $p{index} i32)")).collect();
        let mut body = format!("{guard}(call $text (i32.const {at}) (i32.const {len}))");
        for index in 0..*count {
            let _ = write!(body, "(call $number (local.get $p{index}))");
        }
        body.push_str("(call $emit)\n");
        for call in calls {
            body.push_str(&self.host_call(call));
        }
        let (kind, value) = match has_result {
            true => ("(result i32)", format!("(i32.const {result})")),
            false => ("", String::new()),
        };
        let _ = writeln!(
            self.functions,
            r#"(func (export "proxy_on_{name}") {params} {kind} {body} {value})"#
        );
        self
    }

    fn put(&mut self, bytes: &[u8]) -> (usize, usize) {
        let at = DATA + self.end;
        self.end += bytes.len() + 1;
        let escaped: String = bytes.iter().map(|byte| format!("\\{byte:02x}")).collect();
        let _ = writeln!(self.data, r#"(data (i32.const {at}) "{escaped}")"#);
        (at, bytes.len())
    }

    fn host_call(&mut self, call: &HostCall) -> String {
        let known = FUNCTIONS.iter().find(|(known, _)| *known == call.name);
        let (name, params) = known.unwrap_or_else(|| panic!("no function {}", call.name));
        self.imports.insert(name);
        let (tag, len) = self.put(format!("{PREFIX}{}", call.tag).as_bytes());
        let mut arguments = call.arguments.iter();
        let mut next = || arguments.next().unwrap_or_else(|| panic!("{name} needs arguments"));
        let (mut text, mut out) = (String::new(), 0);
        for kind in params.chars() {
            match kind {
                'o' => {
                    let _ = write!(text, " (i32.const {})", 512 + 4 * out);
                    out += 1;
                }
                'r' => text.push_str(" (i32.const 496) (i32.const 500)"),
                _ => match next().clone() {
                    Arg::Number(number) => {
                        let _ = write!(text, " (i32.const {})", number as u32 as i32);
                    }
                    Arg::Bytes(bytes) => {
                        let (at, len) = self.put(&bytes);
                        let _ = write!(text, " (i32.const {at}) (i32.const {len})");
                    }
                    Arg::Returned => {
                        text.push_str(" (i32.load (i32.const 504)) (i32.load (i32.const 508))");
                    }
                },
            }
        }
        let returns = u32::from(params.contains('r'));
        format!(
            "(call $clear) (call $report (i32.const {tag}) (i32.const {len}) (call ${name}{text})
               (i32.const {out}) (i32.const {returns}))\n"
        )
    }

    /// The module.
    ///
    /// # Panics
    /// If the text of the module is not valid.
    pub fn module(&self) -> Vec<u8> {
        let imports: String = self
            .imports
            .iter()
            .map(|name| {
                let (_, params) = FUNCTIONS.iter().find(|(known, _)| known == name).expect("known");
                let count: usize =
                    params.chars().map(|kind| if matches!(kind, 'p' | 'r') { 2 } else { 1 }).sum();
                let params = "i32 ".repeat(count);
                format!(
                    r#"(import "env" "proxy_{name}" (func ${name} (param {params}) (result i32)))"#
                )
            })
            .collect();
        let Self { functions, data, .. } = self;
        let text = format!("(module {imports} {PRELUDE} {data} {functions})");
        wat::parse_str(&text).unwrap_or_else(|error| panic!("an invalid module: {error}"))
    }
}

const PRELUDE: &str = r#"
(import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
(memory (export "memory") 128)
(global $len (mut i32) (i32.const 0))
(func (export "proxy_abi_version_0_2_1"))
(func (export "proxy_on_memory_allocate") (param i32) (result i32) (i32.const 0x200000))
;; The bytes of the previous call move to 504; the results of the next one are filled with 0xaa.
(func $clear
  (i64.store (i32.const 504) (i64.load (i32.const 496)))
  (if (i32.load (i32.const 500))
    (then (i32.store (i32.const 504) (i32.const 0x380000))
      (memory.copy (i32.const 0x380000) (i32.load (i32.const 496)) (i32.load (i32.const 500)))))
  (i64.store (i32.const 496) (i64.const 0))
  (memory.fill (i32.const 512) (i32.const 0) (i32.const 16)))
(func $put (param $byte i32)
  (i32.store8 (i32.add (i32.const 0x300000) (global.get $len)) (local.get $byte))
  (global.set $len (i32.add (global.get $len) (i32.const 1))))
(func $text (param $at i32) (param $size i32)
  (memory.copy (i32.const 0x300000) (local.get $at) (local.get $size))
  (global.set $len (local.get $size)))
(func $digits (param $value i32)
  (if (i32.ge_u (local.get $value) (i32.const 10))
    (then (call $digits (i32.div_u (local.get $value) (i32.const 10)))))
  (call $put (i32.add (i32.const 48) (i32.rem_u (local.get $value) (i32.const 10)))))
(func $number (param $value i32)
  (call $put (i32.const 32)) (call $digits (local.get $value)))
(func $hex (param $value i32)
  (call $put (i32.add (local.get $value)
    (select (i32.const 48) (i32.const 87) (i32.lt_u (local.get $value) (i32.const 10))))))
(func $emit
  (drop (call $log (i32.const 4) (i32.const 0x300000) (global.get $len))))
(func $report (param $tag i32) (param $size i32) (param $status i32) (param $out i32)
    (param $returns i32) (local $index i32) (local $byte i32)
  (call $text (local.get $tag) (local.get $size))
  (call $number (local.get $status))
  (if (i32.ge_u (local.get $out) (i32.const 1)) (then (call $number (i32.load (i32.const 512)))))
  (if (i32.ge_u (local.get $out) (i32.const 2)) (then (call $number (i32.load (i32.const 516)))))
  (if (local.get $returns) (then
    (call $put (i32.const 32)) (call $put (i32.const 120))
    (block $done (loop $next
      (br_if $done (i32.ge_u (local.get $index) (i32.load (i32.const 500))))
      (local.set $byte (i32.load8_u (i32.add (i32.load (i32.const 496)) (local.get $index))))
      (call $hex (i32.shr_u (local.get $byte) (i32.const 4)))
      (call $hex (i32.and (local.get $byte) (i32.const 15)))
      (local.set $index (i32.add (local.get $index) (i32.const 1)))
      (br $next)))))
  (call $emit))
"#;
