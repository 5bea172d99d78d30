//! The guest that executes programs, and the form in which its plugin configuration contains them.
//!
//! The guest is written in WebAssembly text, so that no toolchain and no SDK stands between a
//! program and the host: every argument arrives as it was written. The plugin configuration is the
//! hexadecimal text of the program: the address of each case; for each case, the address of the
//! section of each callback, 0 for none; for each section, the number of calls and the result, then
//! for each call the function, the number of parameters, flags, and kind and value of each
//! parameter. All numbers have 32 bits.

use std::fmt::Write as _;

use sluice_test_kit::host_functions::{HOST_FUNCTIONS, host_imports};

use super::case::{Argument, Call, Callback, Case, Fields, Section};

/// The prefix of the names of host functions.
pub(super) const PREFIX: &str = "proxy_";

/// The address of the program in the guest's memory.
const PROGRAM: u32 = 0x80_0000;

/// Where calls write pointer and length of a value.
const VALUE: u32 = 0x100;

/// Where calls write numbers.
const OUT: u32 = 0x108;

/// The flags of a call.
const LOGS_VALUE: u32 = 1;
const LOGS_OUT: u32 = 2;
const SAVES_ID: u32 = 4;
const SAVES_TOKEN: u32 = 8;

/// The guest.
///
/// # Panics
/// If its text is not valid.
pub(super) fn module() -> Vec<u8> {
    let (mut types, mut elements, mut dispatch) = (String::new(), String::new(), String::new());
    let params = |count: usize| match count {
        0 => String::new(),
        count => format!("(param{})", " i32".repeat(count)),
    };
    for (name, kinds) in HOST_FUNCTIONS {
        let wide = kinds.contains('L');
        if wide {
            let _ = writeln!(
                types,
                "(func ${name}_of_i32 (param i32 i32) (result i32)
                   (call ${name} (local.get 0) (i64.extend_i32_s (local.get 1))))"
            );
        }
        let _ = write!(elements, " ${name}{}", if wide { "_of_i32" } else { "" });
    }
    for count in 0..=12 {
        let _ = writeln!(types, "(type $call{count} (func {} (result i32)))", params(count));
        let arguments: String =
            (0..count).map(|index| format!("(call $arg (i32.const {index}))")).collect();
        let _ = writeln!(
            dispatch,
            "(if (i32.eq (local.get $count) (i32.const {count})) (then (return
               (call_indirect (type $call{count}) {arguments} (local.get $function)))))"
        );
    }
    let size = HOST_FUNCTIONS.len();
    let text = include_str!("interpreter.wat")
        .replace(";;IMPORTS", &host_imports())
        .replace(";;TYPES", &types)
        .replace(";;TABLE", &format!("(table {size} funcref) (elem (i32.const 0){elements})"))
        .replace(";;DISPATCH", &dispatch)
        .replace("CONTINUE_STREAM", &function("continue_stream").to_string());
    wat::parse_str(&text).unwrap_or_else(|error| panic!("the interpreter is not valid: {error}"))
}

/// The plugin configuration with the programs of these cases.
///
/// # Panics
/// If a program names a function that does not exist, or is too large.
pub(super) fn configuration(cases: &[Case]) -> String {
    let mut image = Image::default();
    image.bytes.resize(4 * cases.len(), 0);
    for (index, case) in cases.iter().enumerate() {
        let table = image.align();
        image.put(4 * index, table);
        let start = image.bytes.len();
        image.bytes.resize(start + 4 * Callback::ALL.len(), 0);
        for (callback, section) in &case.program {
            let address = image.section(section);
            image.put(start + 4 * *callback as usize, address);
        }
    }
    assert!(image.bytes.len() < 0x7f_0000, "the programs fill the guest's memory");
    let mut text = String::with_capacity(2 * image.bytes.len());
    for byte in image.bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// The index of a function, by its name without `proxy_`.
fn function(name: &str) -> usize {
    let index = HOST_FUNCTIONS.iter().position(|(function, _)| *function == name);
    index.unwrap_or_else(|| panic!("no function {name}"))
}

/// A growing program.
#[derive(Default)]
struct Image {
    bytes: Vec<u8>,
}

impl Image {
    fn put(&mut self, at: usize, value: u32) {
        self.bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }

    fn push(&mut self, value: u32) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// The address of the next number.
    fn align(&mut self) -> u32 {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        PROGRAM + self.bytes.len() as u32
    }

    fn section(&mut self, section: &Section) -> u32 {
        // The data that calls point to precede them.
        let calls: Vec<_> = section.calls.iter().map(|call| self.call(call)).collect();
        let address = self.align();
        self.push(calls.len() as u32);
        self.push(section.returns);
        calls.concat().into_iter().for_each(|value| self.push(value));
        address
    }

    fn call(&mut self, call: &Call) -> Vec<u32> {
        let index = function(call.call.trim_start_matches(PREFIX));
        let (mut params, mut flags) = (Vec::new(), 0);
        for argument in &call.args {
            match argument {
                Argument::Number(value) => params.extend([0, *value]),
                Argument::Text(text) => params.extend(self.data(text.as_bytes())),
                Argument::Path(names) => params.extend(self.data(names.join("\0").as_bytes())),
                Argument::Pairs(pairs) => params.extend(self.data(&serialized(pairs))),
                Argument::Bytes(hex) => params.extend(self.data(&bytes(hex))),
                Argument::Stream => params.extend([1, 0]),
                Argument::Root => params.extend([2, 0]),
                Argument::LastId => params.extend([3, 0]),
                Argument::Out | Argument::SecondOut => {
                    flags |= if call.masked { 0 } else { LOGS_OUT };
                    params.extend([0, if *argument == Argument::Out { OUT } else { OUT + 8 }]);
                }
                Argument::NewId => {
                    flags |= SAVES_ID;
                    params.extend([0, OUT]);
                }
                Argument::Value => {
                    flags |= if call.masked { 0 } else { LOGS_VALUE };
                    params.extend([0, VALUE, 0, VALUE + 4]);
                }
                Argument::NewToken => {
                    flags |= SAVES_TOKEN;
                    params.extend([0, OUT]);
                }
            }
        }
        let count = params.len() / 2;
        assert_eq!(
            count,
            HOST_FUNCTIONS[index].1.len(),
            "the number of parameters of {}",
            call.call
        );
        [vec![index as u32, count as u32, flags], params].concat()
    }

    /// Adds bytes; returns kind and value of the parameters for pointer and length.
    fn data(&mut self, bytes: &[u8]) -> [u32; 4] {
        let at = PROGRAM + self.bytes.len() as u32;
        self.bytes.extend_from_slice(bytes);
        [0, at, 0, bytes.len() as u32]
    }
}

/// A header map in the form of the ABI.
fn serialized(pairs: &Fields) -> Vec<u8> {
    let mut bytes = (pairs.len() as u32).to_le_bytes().to_vec();
    for (name, value) in pairs {
        bytes.extend_from_slice(&(name.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&(value.len() as u32).to_le_bytes());
    }
    for (name, value) in pairs {
        for text in [name, value] {
            bytes.extend_from_slice(text.as_bytes());
            bytes.push(0);
        }
    }
    bytes
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        hex.chars().map(|digit| digit.to_digit(16).expect("a hexadecimal digit") as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair.get(1).unwrap_or(&0)).collect()
}
