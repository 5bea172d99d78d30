// Calls to other clusters: HTTP, gRPC messages and gRPC streams. A stream waits for its call.

import * as env from "./imports";
import {
  Bytes, CALL, CALL_BODY, CONTINUE, DATA, GRPC_INITIAL, GRPC_MESSAGE, GRPC_TRAILING, MapBytes,
  NUMBER, PAUSE, REQUEST, RESPONSE, SIZE, buffer, header, hexadecimal, lastStatus, number,
  replaceHeader, reset, say, takeBytes, takeText, word,
} from "./host";
import { reply } from "./messages";
import { Stream, streamOf } from "./streams";

/** The streams that wait, by the number of their call. */
const callers = new Map<u32, u32>();

function argument(name: string, otherwise: string): string {
  const value = header(REQUEST, name);
  return lastStatus == 0 ? value : otherwise;
}

function timeout(): u32 {
  return <u32>parseInt(argument("x-timeout", "1000"));
}

/** Continues the stream with a header that has the result. */
function continueWith(stream: Stream, name: string, value: string): void {
  const inResponse = stream.behavior == "http-call-response";
  env.proxy_set_effective_context(stream.id);
  replaceHeader(inResponse ? RESPONSE : REQUEST, name, value);
  env.proxy_continue_stream(inResponse ? 1 : 0);
}

export function httpCallStart(stream: Stream, map: u32): u32 {
  // The request headers are not readable in the response phase.
  const cluster = new Bytes(map == REQUEST ? argument("x-cluster", "callout") : "callout");
  const limit = map == REQUEST ? timeout() : 1000;
  const pairs = [":method", "POST", ":authority", "callout.example", "x-asked", "1"];
  if (stream.behavior != "http-call-bare") {
    pairs.push(":path");
    pairs.push("/answer");
  }
  const headers = new MapBytes(pairs);
  const body = new Bytes("question");
  const trailers = new MapBytes([]);
  reset();
  const status = env.proxy_http_call(
    cluster.at, cluster.size, headers.at, headers.size, body.at, body.size, trailers.at,
    trailers.size, limit, NUMBER);
  const call = number();
  say(stream.behavior, "dispatch " + word(status));
  if (status != 0) {
    replaceHeader(map, "x-call", word(status));
    return CONTINUE;
  }
  callers.set(call, stream.id);
  return PAUSE;
}

export function httpCallEnd(call: u32, headers: u32, body: u32, trailers: u32): void {
  if (!callers.has(call)) return;
  const stream = streamOf(callers.get(call));
  callers.delete(call);
  let code = header(CALL, ":status");
  const answer = header(CALL, "x-answer");
  const text = body > 0 ? buffer(CALL_BODY, 0, body) : "";
  say(
    stream.behavior,
    "response " + code + " x-answer=" + answer + " body=" + text + " trailers=" +
      trailers.toString());
  if (headers == 0) code = "none";
  if (stream.behavior != "http-call-reply") {
    continueWith(stream, "x-call", code);
    return;
  }
  env.proxy_set_effective_context(stream.id);
  reply(stream, 401, text, [], -1);
}

export function grpcStart(stream: Stream): u32 {
  const cluster = new Bytes(argument("x-cluster", "grpc"));
  const limit = timeout();
  const service = new Bytes("guest.Echo");
  const method = new Bytes("Say");
  const metadata = new MapBytes(["x-meta", "m"]);
  const message: StaticArray<u8> = [0, 1, 0xff, 0x68, 0x69];
  let status: u32;
  reset();
  if (stream.behavior == "grpc-stream") {
    status = env.proxy_grpc_stream(
      cluster.at, cluster.size, service.at, service.size, method.at, method.size, metadata.at,
      metadata.size, NUMBER);
  } else {
    status = env.proxy_grpc_call(
      cluster.at, cluster.size, service.at, service.size, method.at, method.size, metadata.at,
      metadata.size, changetype<usize>(message), message.length, limit, NUMBER);
  }
  const call = number();
  say(stream.behavior, "open " + word(status));
  if (status != 0) {
    replaceHeader(REQUEST, "x-grpc", word(status));
    return CONTINUE;
  }
  if (stream.behavior == "grpc-cancel") {
    say(stream.behavior, "cancel " + word(env.proxy_grpc_cancel(call)));
    say(stream.behavior, "cancel " + word(env.proxy_grpc_cancel(call)));
    return CONTINUE;
  }
  callers.set(call, stream.id);
  if (stream.behavior == "grpc-stream") {
    const one = new Bytes("one");
    const two = new Bytes("two");
    say(stream.behavior, "send " + word(env.proxy_grpc_send(call, one.at, one.size, 0)));
    say(stream.behavior, "send " + word(env.proxy_grpc_send(call, two.at, two.size, 1)));
  }
  return PAUSE;
}

export function grpcInitial(call: u32): void {
  if (!callers.has(call)) return;
  const stream = streamOf(callers.get(call));
  say(stream.behavior, "initial x-initial=" + header(GRPC_INITIAL, "x-initial"));
}

export function grpcMessage(call: u32, size: u32): void {
  if (!callers.has(call)) return;
  const stream = streamOf(callers.get(call));
  reset();
  const status = env.proxy_get_buffer_bytes(GRPC_MESSAGE, 0, size, DATA, SIZE);
  say(stream.behavior, "message " + (status == 0 ? hexadecimal(takeBytes()) : word(status)));
  // The host does not report the end of a unary call that succeeds.
  if (stream.behavior != "grpc-call") return;
  callers.delete(call);
  continueWith(stream, "x-grpc", "message");
}

export function grpcTrailing(call: u32): void {
  if (!callers.has(call)) return;
  const stream = streamOf(callers.get(call));
  say(stream.behavior, "trailing x-trailing=" + header(GRPC_TRAILING, "x-trailing"));
}

export function grpcEnd(call: u32, code: u32): void {
  if (!callers.has(call)) return;
  const stream = streamOf(callers.get(call));
  callers.delete(call);
  reset();
  const status = env.proxy_get_status(NUMBER, DATA, SIZE);
  const statusCode = number();
  say(
    stream.behavior,
    "close " + code.toString() + ", status " + word(status) + " " + statusCode.toString() + " " +
      takeText());
  continueWith(stream, "x-grpc", code == 0 ? "ended" : "failed");
}
