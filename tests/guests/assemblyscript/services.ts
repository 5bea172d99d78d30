// Ticks, shared data, queues, metrics, properties, clocks and logs.

import * as env from "./imports";
import {
  Bytes, CALL, CALL_BODY, CONTINUE, CRITICAL, DATA, DEBUG, ERROR, INFO, NUMBER, PAUSE, REQUEST,
  REQUEST_BODY, RESPONSE, RESPONSE_BODY, SIZE, TRACE, WARN, addHeader, buffer, header, hexadecimal,
  lookUpProperty, number, property, replaceHeader, reset, say, sayAt, takeBytes, takeText, word,
} from "./host";
import { Stream } from "./streams";

let waiting: u32 = 0;
let ticks: u32 = 0;

export function tickRequest(stream: Stream): u32 {
  waiting = stream.id;
  ticks = 0;
  say("tick", "period " + word(env.proxy_set_tick_period(20)));
  return PAUSE;
}

export function tick(): void {
  if (waiting == 0) return;
  ticks++;
  say("tick", ticks.toString());
  if (ticks < 3) return;
  env.proxy_set_tick_period(0);
  say("tick", "other context " + word(env.proxy_set_effective_context(0x7fffffff)));
  say("tick", "context " + word(env.proxy_set_effective_context(waiting)));
  replaceHeader(REQUEST, "x-ticks", "3");
  say("tick", "continue " + word(env.proxy_continue_stream(0)));
  waiting = 0;
}

function sharedGet(): u32 {
  const key = new Bytes("guest.key");
  reset();
  const status = env.proxy_get_shared_data(key.at, key.size, DATA, SIZE, NUMBER);
  const cas = number();
  say("shared-data", "get " + word(status) + " '" + takeText() + "'");
  return cas;
}

function sharedSet(text: string, cas: u32): void {
  const key = new Bytes("guest.key");
  const value = new Bytes(text);
  const status = env.proxy_set_shared_data(key.at, key.size, value.at, value.size, cas);
  say("shared-data", "set '" + text + "' " + word(status));
}

export function sharedData(): u32 {
  sharedGet();
  sharedSet("one", 0);
  const cas = sharedGet();
  sharedSet("two", cas);
  sharedSet("three", cas);
  sharedGet();
  sharedSet("", 0);
  sharedGet();
  return CONTINUE;
}

export function queue(): u32 {
  const vm = new Bytes(property("plugin_vm_id"));
  const jobs = new Bytes("jobs");
  const none = new Bytes("none");
  const first = new Bytes("first");
  reset();
  say("queue", "register " + word(env.proxy_register_shared_queue(jobs.at, jobs.size, NUMBER)));
  const id = number();
  let status = env.proxy_resolve_shared_queue(vm.at, vm.size, jobs.at, jobs.size, NUMBER);
  say("queue", "resolve " + word(status) + (number() == id ? " same" : " other"));
  status = env.proxy_resolve_shared_queue(vm.at, vm.size, none.at, none.size, NUMBER);
  say("queue", "resolve " + word(status));
  say("queue", "enqueue " + word(env.proxy_enqueue_shared_queue(id, first.at, first.size)));
  say("queue", "enqueue " + word(env.proxy_enqueue_shared_queue(id + 999, first.at, first.size)));
  return CONTINUE;
}

function dequeue(id: u32): void {
  reset();
  const status = env.proxy_dequeue_shared_queue(id, DATA, SIZE);
  say("queue", "dequeue " + word(status) + " '" + takeText() + "'");
}

export function queueReady(id: u32): void {
  say("queue", "ready");
  dequeue(id);
  dequeue(id);
  dequeue(id + 999);
}

function define(type: u32, name: string): u32 {
  const bytes = new Bytes(name);
  reset();
  const status = env.proxy_define_metric(type, bytes.at, bytes.size, NUMBER);
  const metric = number();
  say("metrics", "define " + word(status));
  return metric;
}

function getMetric(metric: u32): void {
  reset();
  const status = env.proxy_get_metric(metric, NUMBER);
  const value = load<u64>(NUMBER);
  say("metrics", "get " + word(status) + " " + value.toString());
}

function record(metric: u32, value: u64): void {
  say("metrics", "record " + word(env.proxy_record_metric(metric, value)));
}

function increment(metric: u32, offset: i64): void {
  say("metrics", "increment " + word(env.proxy_increment_metric(metric, offset)));
}

export function metrics(): u32 {
  const counter = define(0, "guest_counter");
  const gauge = define(1, "guest_gauge");
  const histogram = define(2, "guest_histogram");
  increment(counter, 3);
  increment(counter, -1);
  getMetric(counter);
  record(counter, 9);
  getMetric(counter);
  record(gauge, 7);
  increment(gauge, -2);
  getMetric(gauge);
  record(histogram, 5);
  increment(histogram, 1);
  getMetric(histogram);
  getMetric(999999);
  getMetric(4000);
  const again = define(0, "guest_counter");
  say("metrics", again == counter ? "again same" : "again other");
  return CONTINUE;
}

function show(path: string): void {
  say("properties", path + "=" + property(path));
}

export function propertiesRequest(): u32 {
  const paths = [
    "request.path", "request.url_path", "request.method", "request.host", "request.scheme",
    "request.protocol", "request.query", "request.useragent", "request.headers.x-in",
    "request.headers.x-none", "plugin_name", "plugin_root_id", "xds.cluster_name",
    "xds.route_name", "response.code", "no.such",
  ];
  for (let i = 0; i < paths.length; i++) show(paths[i]);
  const path = new Bytes("guest\0mark");
  const value = new Bytes("here");
  say("properties", "set " + word(env.proxy_set_property(path.at, path.size, value.at, value.size)));
  show("guest.mark");
  const status = lookUpProperty("connection.id");
  const size = takeBytes().length;
  say("properties", "connection.id " + word(status) + ", " + size.toString() + " bytes");
  return CONTINUE;
}

export function propertiesResponse(): u32 {
  const status = lookUpProperty("response.code");
  const code = hexadecimal(takeBytes());
  say("properties", "response.code " + word(status) + " " + code);
  show("request.path");
  show("guest.mark");
  return CONTINUE;
}

function wasiClock(clock: u32): u64 {
  reset();
  env.clock_time_get(clock, 1, NUMBER);
  return load<u64>(NUMBER);
}

export function clock(): u32 {
  reset();
  const status = env.proxy_get_current_time(NUMBER);
  const host = load<u64>(NUMBER) / 1000000000;
  const wall = wasiClock(0) / 1000000000;
  const difference = <i64>host - <i64>wall;
  say("clock", "host " + word(status) + (host > 0 ? " positive" : " zero"));
  say("clock", difference * difference <= 1 ? "wall equal" : "wall different");
  say("clock", wasiClock(1) > 0 ? "monotonic positive" : "monotonic zero");
  return CONTINUE;
}

function write(file: u32, text: string): void {
  const bytes = new Bytes(text);
  const part: StaticArray<u32> = [<u32>bytes.at, bytes.size];
  reset();
  env.fd_write(file, changetype<usize>(part), 1, NUMBER);
}

export function logAll(): u32 {
  sayAt(TRACE, "log", "trace");
  sayAt(DEBUG, "log", "debug");
  sayAt(INFO, "log", "info");
  sayAt(WARN, "log", "warn");
  sayAt(ERROR, "log", "error");
  sayAt(CRITICAL, "log", "critical");
  store<u32>(NUMBER, 99);
  const status = env.proxy_get_log_level(NUMBER);
  say("log", "level " + word(status) + " " + number().toString());
  // One call of fd_write is one line of the log.
  write(2, "log: stderr\n");
  write(1, "log: stdout\n");
  return CONTINUE;
}

export function foreign(): u32 {
  const name = new Bytes("no_such");
  reset();
  const status = env.proxy_call_foreign_function(name.at, name.size, 0, 0, DATA, SIZE);
  say("foreign", "no_such " + word(status));
  return CONTINUE;
}

export function phase(): u32 {
  say("phase", "response header " + header(RESPONSE, ":status"));
  say("phase", "response body " + buffer(RESPONSE_BODY, 0, 1));
  say("phase", "request body " + buffer(REQUEST_BODY, 0, 1));
  say("phase", "call header " + header(CALL, ":status"));
  say("phase", "call body " + buffer(CALL_BODY, 0, 1));
  say("phase", "add " + word(addHeader(RESPONSE, "x-early", "1")));
  return CONTINUE;
}
