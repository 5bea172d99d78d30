//! The same modules and calls through wasmtime alone: what a host can reach at most.
//!
//! Functions are looked up once, each callback has a deadline in epochs, and host functions only
//! copy bytes. There are no header maps, no checks of the ABI, no limits and no effects.

use wasmtime::{
    Caller, Config, Engine, Instance, Linker, Memory, Module, Store, TypedFunc, WasmParams,
    WasmResults,
};

use crate::inputs::{BODY, MARKER, REQUEST, RESPONSE};

/// An instance of a module.
pub(crate) struct Bare {
    store: Store<Data>,
    calls: Calls,
    next_stream: u32,
}

/// What the host functions use.
#[derive(Default)]
struct Data {
    memory: Option<Memory>,
    allocate: Option<TypedFunc<u32, u32>>,
    /// The header that the guest has set last.
    name: Vec<u8>,
    value: Vec<u8>,
}

/// The callbacks of an exchange.
struct Calls {
    on_context_create: TypedFunc<(u32, u32), ()>,
    on_request_headers: TypedFunc<(u32, u32, u32), u32>,
    on_response_headers: TypedFunc<(u32, u32, u32), u32>,
    on_response_body: TypedFunc<(u32, u32, u32), u32>,
    on_done: TypedFunc<u32, u32>,
    on_log: TypedFunc<u32, ()>,
    on_delete: TypedFunc<u32, ()>,
}

const PLUGIN: u32 = 1;
const VALID: &str = "the pointers of the module are valid";

impl Bare {
    pub(crate) fn new(wasm: &[u8]) -> Bare {
        let mut config = Config::new();
        config.epoch_interruption(true);
        let engine = Engine::new(&config).expect("the configuration is valid");
        let module = Module::new(&engine, wasm).expect("the module is valid");
        let mut linker = Linker::new(&engine);
        linker.func_wrap("env", "proxy_get_header_map_value", get_header).expect("a new name");
        linker.func_wrap("env", "proxy_replace_header_map_value", set_header).expect("a new name");
        let mut store = Store::new(&engine, Data::default());
        store.set_epoch_deadline(1);
        let instance = linker.instantiate(&mut store, &module).expect("the imports exist");
        store.data_mut().memory = instance.get_memory(&mut store, "memory");
        let allocate = function(&instance, &mut store, "proxy_on_memory_allocate");
        store.data_mut().allocate = Some(allocate);
        let calls = Calls {
            on_context_create: function(&instance, &mut store, "proxy_on_context_create"),
            on_request_headers: function(&instance, &mut store, "proxy_on_request_headers"),
            on_response_headers: function(&instance, &mut store, "proxy_on_response_headers"),
            on_response_body: function(&instance, &mut store, "proxy_on_response_body"),
            on_done: function(&instance, &mut store, "proxy_on_done"),
            on_log: function(&instance, &mut store, "proxy_on_log"),
            on_delete: function(&instance, &mut store, "proxy_on_delete"),
        };
        Bare { store, calls, next_stream: PLUGIN + 1 }
    }

    /// Makes the callbacks of a whole exchange.
    pub(crate) fn exchange(&mut self) {
        let Bare { store, calls, next_stream } = self;
        let stream = *next_stream;
        *next_stream += 1;
        call(store, &calls.on_context_create, (stream, PLUGIN));
        call(store, &calls.on_request_headers, (stream, REQUEST.len() as u32, 1));
        call(store, &calls.on_response_headers, (stream, RESPONSE.len() as u32, 0));
        call(store, &calls.on_response_body, (stream, BODY.len() as u32, 1));
        call(store, &calls.on_done, stream);
        call(store, &calls.on_log, stream);
        call(store, &calls.on_delete, stream);
    }

    /// The value of the header that the small filter sets.
    pub(crate) fn marker(&self) -> Option<String> {
        let Data { name, value, .. } = self.store.data();
        (name == MARKER.as_bytes()).then(|| String::from_utf8_lossy(value).into_owned())
    }
}

fn function<P: WasmParams, R: WasmResults>(
    instance: &Instance,
    store: &mut Store<Data>,
    name: &str,
) -> TypedFunc<P, R> {
    instance.get_typed_func(store, name).expect("the module has the callbacks")
}

fn call<P: WasmParams, R: WasmResults>(
    store: &mut Store<Data>,
    function: &TypedFunc<P, R>,
    params: P,
) -> R {
    store.set_epoch_deadline(1);
    function.call(store, params).expect("the module does not trap")
}

/// Copies the path to a guest that reads a name of that length, and otherwise the authority.
fn get_header(
    mut caller: Caller<'_, Data>,
    _map: u32,
    _name: u32,
    name_size: u32,
    data: u32,
    size: u32,
) -> u32 {
    let value = match name_size {
        5 => REQUEST[3].1,
        _ => REQUEST[2].1,
    };
    let allocate = caller.data().allocate.clone().expect("set before the first call");
    let at = allocate.call(&mut caller, value.len() as u32).expect("the module does not trap");
    let memory = caller.data().memory.expect("set before the first call").data_mut(&mut caller);
    write(memory, at, value.as_bytes());
    write(memory, data, &at.to_le_bytes());
    write(memory, size, &(value.len() as u32).to_le_bytes());
    0
}

/// Copies a name and a value out of the guest.
fn set_header(
    mut caller: Caller<'_, Data>,
    _map: u32,
    name: u32,
    name_size: u32,
    value: u32,
    value_size: u32,
) -> u32 {
    let memory = caller.data().memory.expect("set before the first call");
    let (memory, data) = memory.data_and_store_mut(&mut caller);
    let bytes = |at: u32, size: u32| &memory[at as usize..][..size as usize];
    data.name.clear();
    data.name.extend_from_slice(bytes(name, name_size));
    data.value.clear();
    data.value.extend_from_slice(bytes(value, value_size));
    0
}

fn write(memory: &mut [u8], at: u32, bytes: &[u8]) {
    memory
        .get_mut(at as usize..)
        .and_then(|memory| memory.get_mut(..bytes.len()))
        .expect(VALID)
        .copy_from_slice(bytes);
}
