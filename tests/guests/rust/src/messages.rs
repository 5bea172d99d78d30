//! Headers, bodies and local replies.

use proxy_wasm::hostcalls;
use proxy_wasm::types::{Action, BufferType, MapType};

use crate::text::{header, result, say, value};
use crate::{Stream, raw};

const REQUEST: MapType = MapType::HttpRequestHeaders;
const RESPONSE: MapType = MapType::HttpResponseHeaders;

pub(crate) fn headers_request() -> Action {
    for name in ["x-in", "x-none", "x-two"] {
        say("headers", &format!("request {name}={}", header(REQUEST, name)));
    }
    for (name, text) in [("x-in", "changed"), ("x-new", "set")] {
        let replaced = hostcalls::set_map_value(REQUEST, name, Some(text));
        say("headers", &format!("replace {}", result(&replaced)));
    }
    for text in ["1", "2"] {
        let added = hostcalls::add_map_value(REQUEST, "x-add", text);
        say("headers", &format!("add {}", result(&added)));
    }
    for name in ["x-gone", "x-none"] {
        let removed = hostcalls::remove_map_value(REQUEST, name);
        say("headers", &format!("remove {}", result(&removed)));
    }
    say("headers", &format!("request x-add={}", header(REQUEST, "x-add")));
    Action::Continue
}

pub(crate) fn headers_response() -> Action {
    for name in [":status", "x-up"] {
        say("headers", &format!("response {name}={}", header(RESPONSE, name)));
    }
    let _ = hostcalls::set_map_value(RESPONSE, "x-up", Some("changed"));
    let _ = hostcalls::add_map_value(RESPONSE, "x-resp", "1");
    let _ = hostcalls::add_map_value(RESPONSE, "x-resp", "2");
    let _ = hostcalls::remove_map_value(RESPONSE, "x-drop");
    say("headers", &format!("request x-in={}", header(REQUEST, "x-in")));
    Action::Continue
}

pub(crate) fn map_request() -> Action {
    let mut map = hostcalls::get_map(REQUEST).unwrap_or_default();
    for (name, text) in map.iter().filter(|(name, _)| name.starts_with("x-t-")) {
        say("map", &format!("{name}={text}"));
    }
    map.retain(|(name, _)| !name.starts_with("x-t-drop"));
    map.push(("x-t-last".to_owned(), "1".to_owned()));
    let pairs = map.iter().map(|(name, text)| (&**name, &**text)).collect();
    say("map", &format!("set {}", result(&hostcalls::set_map(REQUEST, pairs))));
    Action::Continue
}

pub(crate) fn path_request() -> Action {
    let _ = hostcalls::set_map_value(REQUEST, ":path", Some("/other?x=1"));
    let _ = hostcalls::set_map_value(REQUEST, ":authority", Some("other.example"));
    Action::Continue
}

pub(crate) fn body_headers(stream: &Stream, map: MapType) -> Action {
    if stream.behavior != "body-keep" {
        let _ = hostcalls::remove_map_value(map, "content-length");
    }
    Action::Continue
}

pub(crate) fn body_chunk(stream: &Stream, body: BufferType, size: usize, end: bool) -> Action {
    let behavior = &*stream.behavior;
    let is_appended = matches!(behavior, "body-append" | "body-keep");
    if !end {
        return if is_appended { Action::Continue } else { Action::Pause };
    }
    let set = |start, length, bytes: &[u8]| {
        let set = hostcalls::set_buffer(body, start, length, bytes);
        say(behavior, &format!("set {}", result(&set)));
    };
    if is_appended {
        set(size, 0, b"+end");
        return Action::Continue;
    }
    say(behavior, &format!("{size} bytes"));
    match behavior {
        "body-prepend" => set(0, 0, b"start+"),
        "body-replace" => set(0, size, b"replaced"),
        "body-shrink" => set(0, size, &raw::buffer(body, 0, 4).unwrap_or_default()),
        "body-clear" => set(0, size, b""),
        "body-peek" => {
            let get = |start, length| value(raw::buffer(body, start, length));
            say(behavior, &format!("0,3 {}", get(0, 3)));
            say(behavior, &format!("2,100 {}", get(2, 100)));
            say(behavior, &format!("end,1 {}", get(size, 1)));
            say(behavior, &format!("beyond,1 {}", get(size + 1, 1)));
            set(0, 2, b"XY!");
        }
        _ => {}
    }
    Action::Continue
}

fn reply(stream: &Stream, status: u32, body: &str) {
    let sent = hostcalls::send_http_response(status, vec![("x-reply", "1")], Some(body.as_bytes()));
    say(&stream.behavior, &format!("reply {}", result(&sent)));
}

pub(crate) fn reply_request(stream: &Stream) -> Action {
    if stream.behavior == "local-reply" {
        reply(stream, 403, "no entry");
    } else {
        let status = raw::reply(403, "denied", 7);
        say(&stream.behavior, &format!("reply {}", crate::text::word(status)));
    }
    Action::Pause
}

pub(crate) fn reply_body(stream: &Stream, end: bool) -> Action {
    if end {
        reply(stream, 413, "too much");
    }
    Action::Pause
}

pub(crate) fn reply_response(stream: &Stream) -> Action {
    let status = header(RESPONSE, ":status");
    say(&stream.behavior, &format!("response {status}"));
    if stream.behavior == "local-reply-response" && status == "200" {
        reply(stream, 502, "changed");
        return Action::Pause;
    }
    Action::Continue
}
