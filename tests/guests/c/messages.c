// Headers, bodies and local replies.
#include <stdlib.h>
#include <string.h>

#include "behaviors.h"

static pair_t pair(const char *name, const char *value) {
    return (pair_t){name, strlen(name), value, strlen(value)};
}

action_t headers_request(stream_t *stream) {
    say(INFO, "headers", "request x-in=%s", header(REQUEST, "x-in"));
    say(INFO, "headers", "request x-none=%s", header(REQUEST, "x-none"));
    say(INFO, "headers", "request x-two=%s", header(REQUEST, "x-two"));
    say(INFO, "headers", "replace %s", word(replace(REQUEST, "x-in", "changed")));
    say(INFO, "headers", "replace %s", word(replace(REQUEST, "x-new", "set")));
    say(INFO, "headers", "add %s", word(add(REQUEST, "x-add", "1")));
    say(INFO, "headers", "add %s", word(add(REQUEST, "x-add", "2")));
    say(INFO, "headers", "remove %s", word(erase(REQUEST, "x-gone")));
    say(INFO, "headers", "remove %s", word(erase(REQUEST, "x-none")));
    say(INFO, "headers", "request x-add=%s", header(REQUEST, "x-add"));
    return CONTINUE;
}

void headers_response(void) {
    say(INFO, "headers", "response :status=%s", header(RESPONSE, ":status"));
    say(INFO, "headers", "response x-up=%s", header(RESPONSE, "x-up"));
    replace(RESPONSE, "x-up", "changed");
    add(RESPONSE, "x-resp", "1");
    add(RESPONSE, "x-resp", "2");
    erase(RESPONSE, "x-drop");
    say(INFO, "headers", "request x-in=%s", header(REQUEST, "x-in"));
}

static bool starts_with(const pair_t *pair, const char *prefix) {
    size_t size = strlen(prefix);
    return pair->name_size >= size && memcmp(pair->name, prefix, size) == 0;
}

action_t map_request(stream_t *stream) {
    char *data = NULL;
    size_t size = 0;
    uint32_t status = proxy_get_header_map_pairs(REQUEST, &data, &size);
    if (status != OK) {
        say(INFO, "map", "get %s", word(status));
        return CONTINUE;
    }
    pair_t pairs[64], kept[64];
    size_t count = parse_map(data, size, pairs, 63), used = 0;
    for (size_t i = 0; i < count; i++) {
        if (starts_with(&pairs[i], "x-t-"))
            say(INFO, "map", "%.*s=%.*s", (int)pairs[i].name_size, pairs[i].name,
                (int)pairs[i].value_size, pairs[i].value);
        if (!starts_with(&pairs[i], "x-t-drop")) kept[used++] = pairs[i];
    }
    kept[used++] = pair("x-t-last", "1");
    static map_bytes_t map;
    serialize(&map, kept, used);
    say(INFO, "map", "set %s", word(proxy_set_header_map_pairs(REQUEST, map.bytes, map.size)));
    free(data);
    return CONTINUE;
}

action_t path_request(stream_t *stream) {
    replace(REQUEST, ":path", "/other?x=1");
    replace(REQUEST, ":authority", "other.example");
    return CONTINUE;
}

bool is_body(const stream_t *stream) {
    return stream != NULL && strncmp(stream->behavior, "body-", 5) == 0;
}

void body_headers(stream_t *stream, map_t map) {
    if (!is(stream, "body-keep")) erase(map, "content-length");
}

static void set(stream_t *stream, buffer_t body, size_t start, size_t length, const char *data) {
    uint32_t status = proxy_set_buffer_bytes(body, start, length, data, strlen(data));
    say(INFO, stream->behavior, "set %s", word(status));
}

static void peek(buffer_t body, size_t size) {
    say(INFO, "body-peek", "0,3 %s", buffer(body, 0, 3));
    say(INFO, "body-peek", "2,100 %s", buffer(body, 2, 100));
    say(INFO, "body-peek", "end,1 %s", buffer(body, size, 1));
    say(INFO, "body-peek", "beyond,1 %s", buffer(body, size + 1, 1));
    uint32_t status = proxy_set_buffer_bytes(body, 0, 2, "XY!", 3);
    say(INFO, "body-peek", "set %s", word(status));
}

action_t body_chunk(stream_t *stream, buffer_t body, size_t size, bool end) {
    bool is_appended = is(stream, "body-append") || is(stream, "body-keep");
    if (!end) return is_appended ? CONTINUE : PAUSE;
    if (is_appended) {
        set(stream, body, size, 0, "+end");
        return CONTINUE;
    }
    say(INFO, stream->behavior, "%zu bytes", size);
    if (is(stream, "body-prepend")) set(stream, body, 0, 0, "start+");
    if (is(stream, "body-replace")) set(stream, body, 0, size, "replaced");
    if (is(stream, "body-shrink")) set(stream, body, 0, size, buffer(body, 0, 4));
    if (is(stream, "body-clear")) set(stream, body, 0, size, "");
    if (is(stream, "body-peek")) peek(body, size);
    return CONTINUE;
}

static void reply(stream_t *stream, uint32_t code, const char *body, int32_t grpc) {
    map_bytes_t headers;
    pair_t pairs[] = {pair("x-reply", "1")};
    serialize(&headers, pairs, 1);
    uint32_t status = proxy_send_local_response(code, "guest", 5, body, strlen(body),
                                                headers.bytes, headers.size, grpc);
    say(INFO, stream->behavior, "reply %s", word(status));
}

action_t reply_request(stream_t *stream) {
    if (is(stream, "local-reply-grpc"))
        reply(stream, 403, "denied", 7);
    else
        reply(stream, 403, "no entry", -1);
    return PAUSE;
}

action_t reply_body(stream_t *stream, bool end) {
    if (!end) return PAUSE;
    reply(stream, 413, "too much", -1);
    return PAUSE;
}

action_t reply_response(stream_t *stream) {
    const char *code = header(RESPONSE, ":status");
    say(INFO, stream->behavior, "response %s", code);
    if (is(stream, "local-reply-response") && strcmp(code, "200") == 0) {
        reply(stream, 502, "changed", -1);
        return PAUSE;
    }
    return CONTINUE;
}
