// The callbacks of the guest. They find the behavior of the stream and run it.

import { grpcEnd, grpcInitial, grpcMessage, grpcStart, grpcTrailing } from "./calls";
import { httpCallEnd, httpCallStart } from "./calls";
import {
  CONFIGURATION, CONTINUE, REQUEST, REQUEST_BODY, RESPONSE, RESPONSE_BODY, buffer, header, say,
} from "./host";
import {
  bodyChunk, bodyHeaders, headersRequest, headersResponse, mapRequest, pathRequest, replyBody,
  replyRequest, replyResponse,
} from "./messages";
import {
  clock, foreign, logAll, metrics, phase, propertiesRequest, propertiesResponse, queue, queueReady,
  sharedData, tick, tickRequest,
} from "./services";
import { Stream, streamOf, streams } from "./streams";

export { proxy_on_memory_allocate } from "./host";

export function proxy_abi_version_0_2_1(): void {}

export function proxy_on_context_create(id: u32, parent: u32): void {
  if (parent != 0) streams.set(id, new Stream(id));
}

export function proxy_on_vm_start(id: u32, size: u32): u32 {
  return 1;
}

export function proxy_on_configure(id: u32, size: u32): u32 {
  say("configure", buffer(CONFIGURATION, 0, size));
  return 1;
}

export function proxy_on_request_headers(id: u32, count: u32, end: u32): u32 {
  const stream = streamOf(id);
  const behavior = header(REQUEST, ":path").split("?")[0].substring(1);
  stream.behavior = behavior;
  if (behavior == "headers") return headersRequest();
  if (behavior == "map") return mapRequest();
  if (behavior == "path") return pathRequest();
  if (behavior == "local-reply" || behavior == "local-reply-grpc") return replyRequest(stream);
  if (behavior == "http-call-response") return CONTINUE;
  if (behavior.startsWith("grpc-")) return grpcStart(stream);
  if (behavior == "tick") return tickRequest(stream);
  if (behavior == "shared-data") return sharedData();
  if (behavior == "queue") return queue();
  if (behavior == "metrics") return metrics();
  if (behavior == "properties") return propertiesRequest();
  if (behavior == "clock") return clock();
  if (behavior == "log") return logAll();
  if (behavior == "foreign") return foreign();
  if (behavior == "phase") return phase();
  if (behavior == "trap") unreachable();
  if (behavior.startsWith("body-")) return bodyHeaders(stream, REQUEST);
  if (behavior.startsWith("http-call")) return httpCallStart(stream, REQUEST);
  return CONTINUE;
}

export function proxy_on_request_body(id: u32, size: u32, end: u32): u32 {
  const stream = streamOf(id);
  if (stream.behavior == "local-reply-late") return replyBody(stream, end != 0);
  return bodyChunk(stream, REQUEST_BODY, size, end != 0);
}

export function proxy_on_response_headers(id: u32, count: u32, end: u32): u32 {
  const stream = streamOf(id);
  if (stream.behavior == "headers") return headersResponse();
  if (stream.behavior == "properties") return propertiesResponse();
  if (stream.behavior == "http-call-response") return httpCallStart(stream, RESPONSE);
  if (stream.behavior.startsWith("body-")) return bodyHeaders(stream, RESPONSE);
  if (stream.behavior.startsWith("local-reply")) return replyResponse(stream);
  return CONTINUE;
}

export function proxy_on_response_body(id: u32, size: u32, end: u32): u32 {
  return bodyChunk(streamOf(id), RESPONSE_BODY, size, end != 0);
}

export function proxy_on_done(id: u32): u32 {
  if (streamOf(id).behavior == "done") say("done", "done");
  return 1;
}

export function proxy_on_log(id: u32): void {
  if (streamOf(id).behavior == "done") say("done", "log " + header(RESPONSE, ":status"));
}

export function proxy_on_delete(id: u32): void {
  if (streamOf(id).behavior == "done") say("done", "delete");
  streams.delete(id);
}

export function proxy_on_tick(id: u32): void {
  tick();
}

export function proxy_on_queue_ready(id: u32, queue: u32): void {
  queueReady(queue);
}

export function proxy_on_http_call_response(
  id: u32, call: u32, headers: u32, body: u32, trailers: u32): void {
  httpCallEnd(call, headers, body, trailers);
}

export function proxy_on_grpc_receive_initial_metadata(id: u32, call: u32, count: u32): void {
  grpcInitial(call);
}

export function proxy_on_grpc_receive(id: u32, call: u32, size: u32): void {
  grpcMessage(call, size);
}

export function proxy_on_grpc_receive_trailing_metadata(id: u32, call: u32, count: u32): void {
  grpcTrailing(call);
}

export function proxy_on_grpc_close(id: u32, call: u32, status: u32): void {
  grpcEnd(call, status);
}
