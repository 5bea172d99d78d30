// Headers, bodies and local replies.

import * as env from "./imports";
import {
  Bytes, CONTINUE, DATA, MapBytes, PAUSE, Pairs, REQUEST, RESPONSE, SIZE, addHeader, buffer, header,
  parseMap, removeHeader, replaceHeader, reset, say, takeBytes, word,
} from "./host";
import { Stream } from "./streams";

export function headersRequest(): u32 {
  say("headers", "request x-in=" + header(REQUEST, "x-in"));
  say("headers", "request x-none=" + header(REQUEST, "x-none"));
  say("headers", "request x-two=" + header(REQUEST, "x-two"));
  say("headers", "replace " + word(replaceHeader(REQUEST, "x-in", "changed")));
  say("headers", "replace " + word(replaceHeader(REQUEST, "x-new", "set")));
  say("headers", "add " + word(addHeader(REQUEST, "x-add", "1")));
  say("headers", "add " + word(addHeader(REQUEST, "x-add", "2")));
  say("headers", "remove " + word(removeHeader(REQUEST, "x-gone")));
  say("headers", "remove " + word(removeHeader(REQUEST, "x-none")));
  say("headers", "request x-add=" + header(REQUEST, "x-add"));
  return CONTINUE;
}

export function headersResponse(): u32 {
  say("headers", "response :status=" + header(RESPONSE, ":status"));
  say("headers", "response x-up=" + header(RESPONSE, "x-up"));
  replaceHeader(RESPONSE, "x-up", "changed");
  addHeader(RESPONSE, "x-resp", "1");
  addHeader(RESPONSE, "x-resp", "2");
  removeHeader(RESPONSE, "x-drop");
  say("headers", "request x-in=" + header(REQUEST, "x-in"));
  return CONTINUE;
}

export function mapRequest(): u32 {
  reset();
  const status = env.proxy_get_header_map_pairs(REQUEST, DATA, SIZE);
  if (status != 0) {
    say("map", "get " + word(status));
    return CONTINUE;
  }
  const pairs = parseMap(takeBytes());
  const kept: Pairs = [];
  for (let i = 0; i < pairs.length; i += 2) {
    if (pairs[i].startsWith("x-t-")) say("map", pairs[i] + "=" + pairs[i + 1]);
    if (pairs[i].startsWith("x-t-drop")) continue;
    kept.push(pairs[i]);
    kept.push(pairs[i + 1]);
  }
  kept.push("x-t-last");
  kept.push("1");
  const map = new MapBytes(kept);
  say("map", "set " + word(env.proxy_set_header_map_pairs(REQUEST, map.at, map.size)));
  return CONTINUE;
}

export function pathRequest(): u32 {
  replaceHeader(REQUEST, ":path", "/other?x=1");
  replaceHeader(REQUEST, ":authority", "other.example");
  return CONTINUE;
}

export function bodyHeaders(stream: Stream, map: u32): u32 {
  if (stream.behavior != "body-keep") removeHeader(map, "content-length");
  return CONTINUE;
}

function setBuffer(stream: Stream, body: u32, start: u32, length: u32, text: string): void {
  const bytes = new Bytes(text);
  const status = env.proxy_set_buffer_bytes(body, start, length, bytes.at, bytes.size);
  say(stream.behavior, "set " + word(status));
}

export function bodyChunk(stream: Stream, body: u32, size: u32, end: bool): u32 {
  const behavior = stream.behavior;
  if (!behavior.startsWith("body-")) return CONTINUE;
  const isAppended = behavior == "body-append" || behavior == "body-keep";
  if (!end) return isAppended ? CONTINUE : PAUSE;
  if (isAppended) {
    setBuffer(stream, body, size, 0, "+end");
    return CONTINUE;
  }
  say(behavior, size.toString() + " bytes");
  if (behavior == "body-prepend") setBuffer(stream, body, 0, 0, "start+");
  if (behavior == "body-replace") setBuffer(stream, body, 0, size, "replaced");
  if (behavior == "body-shrink") setBuffer(stream, body, 0, size, buffer(body, 0, 4));
  if (behavior == "body-clear") setBuffer(stream, body, 0, size, "");
  if (behavior == "body-peek") {
    say(behavior, "0,3 " + buffer(body, 0, 3));
    say(behavior, "2,100 " + buffer(body, 2, 100));
    say(behavior, "end,1 " + buffer(body, size, 1));
    say(behavior, "beyond,1 " + buffer(body, size + 1, 1));
    setBuffer(stream, body, 0, 2, "XY!");
  }
  return CONTINUE;
}

export function reply(
  stream: Stream, code: u32, text: string, headers: Pairs, grpc: i32): void {
  const details = new Bytes("guest");
  const body = new Bytes(text);
  const map = new MapBytes(headers);
  const status = env.proxy_send_local_response(
    code, details.at, details.size, body.at, body.size, map.at, map.size, grpc);
  say(stream.behavior, "reply " + word(status));
}

export function replyRequest(stream: Stream): u32 {
  if (stream.behavior == "local-reply-grpc") reply(stream, 403, "denied", ["x-reply", "1"], 7);
  else reply(stream, 403, "no entry", ["x-reply", "1"], -1);
  return PAUSE;
}

export function replyBody(stream: Stream, end: bool): u32 {
  if (end) reply(stream, 413, "too much", ["x-reply", "1"], -1);
  return PAUSE;
}

export function replyResponse(stream: Stream): u32 {
  const code = header(RESPONSE, ":status");
  say(stream.behavior, "response " + code);
  if (stream.behavior == "local-reply-response" && code == "200") {
    reply(stream, 502, "changed", ["x-reply", "1"], -1);
    return PAUSE;
  }
  return CONTINUE;
}
