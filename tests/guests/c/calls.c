// Calls to other clusters: HTTP, gRPC messages and gRPC streams. A stream waits for its call.
#include <stdlib.h>
#include <string.h>

#include "behaviors.h"

// The calls that have not ended, with the streams that wait for them.
static struct {
    uint32_t call;
    uint32_t stream;
} calls[64];

static void remember_call(uint32_t call, uint32_t stream) {
    for (size_t i = 0; i < 64; i++) {
        if (calls[i].stream != 0) continue;
        calls[i].call = call;
        calls[i].stream = stream;
        return;
    }
}

static stream_t *caller(uint32_t call, bool forget) {
    for (size_t i = 0; i < 64; i++) {
        if (calls[i].stream == 0 || calls[i].call != call) continue;
        stream_t *stream = stream_of(calls[i].stream);
        if (forget) calls[i].stream = 0;
        return stream;
    }
    return NULL;
}

// Continues the stream with a header that has the result.
static void continue_with(stream_t *stream, const char *name, const char *value) {
    bool in_response = is(stream, "http-call-response");
    proxy_set_effective_context(stream->id);
    replace(in_response ? RESPONSE : REQUEST, name, value);
    proxy_continue_stream(in_response ? 1 : 0);
}

static const char *argument(const char *name, const char *otherwise) {
    char *data = NULL;
    size_t size = 0;
    uint32_t status = proxy_get_header_map_value(REQUEST, name, strlen(name), &data, &size);
    return status == OK ? take(data, size) : otherwise;
}

bool is_http_call(const stream_t *stream) {
    return stream != NULL && strncmp(stream->behavior, "http-call", 9) == 0;
}

action_t http_call_start(stream_t *stream, map_t map) {
    // The request headers are not readable in the response phase.
    bool in_response = map == RESPONSE;
    const char *cluster = in_response ? "callout" : argument("x-cluster", "callout");
    uint32_t timeout = in_response ? 1000 : atoi(argument("x-timeout", "1000"));
    pair_t pairs[] = {
        {":method", 7, "POST", 4},
        {":authority", 10, "callout.example", 15},
        {"x-asked", 7, "1", 1},
        {":path", 5, "/answer", 7},
    };
    map_bytes_t headers;
    serialize(&headers, pairs, is(stream, "http-call-bare") ? 3 : 4);
    map_bytes_t trailers;
    serialize(&trailers, NULL, 0);
    uint32_t call = 0;
    uint32_t status =
        proxy_http_call(cluster, strlen(cluster), headers.bytes, headers.size, "question", 8,
                        trailers.bytes, trailers.size, timeout, &call);
    say(INFO, stream->behavior, "dispatch %s", word(status));
    if (status != OK) {
        replace(map, "x-call", word(status));
        return CONTINUE;
    }
    remember_call(call, stream->id);
    return PAUSE;
}

void http_call_end(uint32_t call, size_t headers, size_t body, size_t trailers) {
    stream_t *stream = caller(call, true);
    if (stream == NULL) return;
    const char *code = header(CALL, ":status");
    const char *text = body > 0 ? buffer(CALL_BODY, 0, body) : "";
    say(INFO, stream->behavior, "response %s x-answer=%s body=%s trailers=%zu", code,
        header(CALL, "x-answer"), text, trailers);
    if (headers == 0) code = "none";
    if (!is(stream, "http-call-reply")) {
        continue_with(stream, "x-call", code);
        return;
    }
    proxy_set_effective_context(stream->id);
    map_bytes_t none;
    serialize(&none, NULL, 0);
    uint32_t status =
        proxy_send_local_response(401, "", 0, text, strlen(text), none.bytes, none.size, -1);
    say(INFO, stream->behavior, "reply %s", word(status));
}

action_t grpc_start(stream_t *stream) {
    const char *cluster = argument("x-cluster", "grpc");
    uint32_t timeout = atoi(argument("x-timeout", "1000"));
    pair_t pairs[] = {{"x-meta", 6, "m", 1}};
    map_bytes_t metadata;
    serialize(&metadata, pairs, 1);
    static const char service[] = "guest.Echo", method[] = "Say";
    static const char message[] = {0, 1, (char)0xff, 'h', 'i'};
    uint32_t call = 0, status;
    if (is(stream, "grpc-stream"))
        status = proxy_grpc_stream(cluster, strlen(cluster), service, 10, method, 3,
                                   metadata.bytes, metadata.size, &call);
    else
        status = proxy_grpc_call(cluster, strlen(cluster), service, 10, method, 3, metadata.bytes,
                                 metadata.size, message, sizeof message, timeout, &call);
    say(INFO, stream->behavior, "open %s", word(status));
    if (status != OK) {
        replace(REQUEST, "x-grpc", word(status));
        return CONTINUE;
    }
    if (is(stream, "grpc-cancel")) {
        say(INFO, stream->behavior, "cancel %s", word(proxy_grpc_cancel(call)));
        say(INFO, stream->behavior, "cancel %s", word(proxy_grpc_cancel(call)));
        return CONTINUE;
    }
    remember_call(call, stream->id);
    if (is(stream, "grpc-stream")) {
        say(INFO, stream->behavior, "send %s", word(proxy_grpc_send(call, "one", 3, 0)));
        say(INFO, stream->behavior, "send %s", word(proxy_grpc_send(call, "two", 3, 1)));
    }
    return PAUSE;
}

void grpc_initial(uint32_t call) {
    stream_t *stream = caller(call, false);
    if (stream == NULL) return;
    say(INFO, stream->behavior, "initial x-initial=%s", header(GRPC_INITIAL, "x-initial"));
}

void grpc_message(uint32_t call, size_t size) {
    stream_t *stream = caller(call, false);
    if (stream == NULL) return;
    char *data = NULL;
    size_t copied = 0;
    uint32_t status = proxy_get_buffer_bytes(GRPC_MESSAGE, 0, size, &data, &copied);
    say(INFO, stream->behavior, "message %s",
        status == OK ? hexadecimal(data, copied) : word(status));
    free(data);
    // The host does not report the end of a unary call that succeeds.
    if (!is(stream, "grpc-call")) return;
    caller(call, true);
    continue_with(stream, "x-grpc", "message");
}

void grpc_trailing(uint32_t call) {
    stream_t *stream = caller(call, false);
    if (stream == NULL) return;
    say(INFO, stream->behavior, "trailing x-trailing=%s", header(GRPC_TRAILING, "x-trailing"));
}

void grpc_end(uint32_t call, uint32_t code) {
    stream_t *stream = caller(call, true);
    if (stream == NULL) return;
    char *data = NULL;
    size_t size = 0;
    uint32_t status_code = 0;
    uint32_t status = proxy_get_status(&status_code, &data, &size);
    say(INFO, stream->behavior, "close %u, status %s %u %s", code, word(status), status_code,
        take(data, size));
    continue_with(stream, "x-grpc", code == 0 ? "ended" : "failed");
}
