// Helpers over the host calls: text values, logs and serialized header maps.

import * as env from "./imports";

export const TRACE: u32 = 0;
export const DEBUG: u32 = 1;
export const INFO: u32 = 2;
export const WARN: u32 = 3;
export const ERROR: u32 = 4;
export const CRITICAL: u32 = 5;

export const REQUEST: u32 = 0;
export const RESPONSE: u32 = 2;
export const GRPC_INITIAL: u32 = 4;
export const GRPC_TRAILING: u32 = 5;
export const CALL: u32 = 6;

export const REQUEST_BODY: u32 = 0;
export const RESPONSE_BODY: u32 = 1;
export const CALL_BODY: u32 = 4;
export const GRPC_MESSAGE: u32 = 5;
export const CONFIGURATION: u32 = 7;

export const CONTINUE: u32 = 0;
export const PAUSE: u32 = 1;

/** Without this function, the compiler would import one from the host. */
export function abort(message: string | null, file: string | null, line: u32, column: u32): void {
  const text = message === null ? "" : message;
  sayAt(CRITICAL, "abort", text);
  unreachable();
}

export function proxy_on_memory_allocate(size: u32): usize {
  return heap.alloc(size);
}

const words: string[] = [
  "ok", "not found", "bad argument", "serialization failure", "parse failure", "bad expression",
  "invalid memory access", "empty", "cas mismatch", "result mismatch", "internal failure",
  "broken connection", "unimplemented",
];

/** The name of a status of the ABI. */
export function word(status: u32): string {
  return status < <u32>words.length ? words[status] : "another status";
}

/** The bytes of a text in UTF-8. */
export class Bytes {
  data: ArrayBuffer;
  constructor(text: string) {
    this.data = String.UTF8.encode(text);
  }
  get at(): usize {
    return changetype<usize>(this.data);
  }
  get size(): u32 {
    return this.data.byteLength;
  }
}

/** Logs "BEHAVIOR: TEXT" at a level. */
export function sayAt(level: u32, behavior: string, text: string): void {
  const line = new Bytes(behavior + ": " + text);
  env.proxy_log(level, line.at, line.size);
}

export function say(behavior: string, text: string): void {
  sayAt(INFO, behavior, text);
}

/** Output parameters: an address, a length, and a number. */
const output = memory.data(24);

export const DATA: usize = output;
export const SIZE: usize = output + 4;
export const NUMBER: usize = output + 8;

export function reset(): void {
  memory.fill(output, 0, 24);
}

export function number(): u32 {
  return load<u32>(NUMBER);
}

/** The bytes that the host returned, as a copy. */
export function takeBytes(): Uint8Array {
  const address = load<u32>(DATA);
  const size = load<u32>(SIZE);
  const copy = new Uint8Array(size);
  if (address != 0) {
    memory.copy(copy.dataStart, address, size);
    heap.free(address);
  }
  return copy;
}

export function takeText(): string {
  return String.UTF8.decode(takeBytes().buffer);
}

function valueOrWord(status: u32): string {
  return status == 0 ? takeText() : word(status);
}

/** The status of the last look-up. */
export let lastStatus: u32 = 0;

export function header(map: u32, name: string): string {
  const bytes = new Bytes(name);
  reset();
  lastStatus = env.proxy_get_header_map_value(map, bytes.at, bytes.size, DATA, SIZE);
  return valueOrWord(lastStatus);
}

export function buffer(kind: u32, start: u32, length: u32): string {
  reset();
  lastStatus = env.proxy_get_buffer_bytes(kind, start, length, DATA, SIZE);
  return valueOrWord(lastStatus);
}

/** Reads a property to the output parameters. */
export function lookUpProperty(path: string): u32 {
  const bytes = new Bytes(path.replaceAll(".", "\0"));
  reset();
  lastStatus = env.proxy_get_property(bytes.at, bytes.size, DATA, SIZE);
  return lastStatus;
}

export function property(path: string): string {
  return valueOrWord(lookUpProperty(path));
}

export function addHeader(map: u32, name: string, value: string): u32 {
  const n = new Bytes(name);
  const v = new Bytes(value);
  return env.proxy_add_header_map_value(map, n.at, n.size, v.at, v.size);
}

export function replaceHeader(map: u32, name: string, value: string): u32 {
  const n = new Bytes(name);
  const v = new Bytes(value);
  return env.proxy_replace_header_map_value(map, n.at, n.size, v.at, v.size);
}

export function removeHeader(map: u32, name: string): u32 {
  const n = new Bytes(name);
  return env.proxy_remove_header_map_value(map, n.at, n.size);
}

/** The two hexadecimal digits of each byte. */
export function hexadecimal(bytes: Uint8Array): string {
  let text = "";
  for (let i = 0; i < bytes.length; i++) {
    const byte = <u32>bytes[i];
    text += (byte < 16 ? "0" : "") + byte.toString(16);
  }
  return text;
}

/** Names and values in turn. */
export type Pairs = string[];

/** A header map: the number of pairs, the lengths of each, and then names and values. */
export class MapBytes {
  data: Uint8Array;
  constructor(pairs: Pairs) {
    const texts: ArrayBuffer[] = [];
    let size = 4;
    for (let i = 0; i < pairs.length; i++) {
      const bytes = String.UTF8.encode(pairs[i]);
      texts.push(bytes);
      size += 4 + bytes.byteLength + 1;
    }
    this.data = new Uint8Array(size);
    let at = this.data.dataStart;
    store<u32>(at, pairs.length / 2);
    at += 4;
    for (let i = 0; i < texts.length; i++) {
      store<u32>(at, texts[i].byteLength);
      at += 4;
    }
    for (let i = 0; i < texts.length; i++) {
      memory.copy(at, changetype<usize>(texts[i]), texts[i].byteLength);
      at += texts[i].byteLength + 1;
    }
  }
  get at(): usize {
    return this.data.dataStart;
  }
  get size(): u32 {
    return this.data.length;
  }
}

export function parseMap(bytes: Uint8Array): Pairs {
  const pairs: Pairs = [];
  if (bytes.length < 4) return pairs;
  const start = bytes.dataStart;
  const count = load<u32>(start) * 2;
  let next = start + 4 + 4 * count;
  for (let i: u32 = 0; i < count; i++) {
    const size = load<u32>(start + 4 + 4 * i);
    pairs.push(String.UTF8.decodeUnsafe(next, size));
    next += size + 1;
  }
  return pairs;
}
