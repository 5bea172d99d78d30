// The callbacks of the guest. They find the behavior of the stream and run it.
#include "behaviors.h"

#include <stdlib.h>
#include <string.h>

// Streams end before many more begin.
static stream_t streams[64];

stream_t *stream_of(uint32_t id) {
    for (size_t i = 0; i < 64; i++)
        if (streams[i].id == id && id != 0) return &streams[i];
    return NULL;
}

bool is(const stream_t *stream, const char *behavior) {
    return stream != NULL && strcmp(stream->behavior, behavior) == 0;
}

void EXPORT(proxy_abi_version_0_2_1)(void) {}

void *EXPORT(proxy_on_memory_allocate)(size_t size) { return malloc(size); }

void EXPORT(proxy_on_context_create)(uint32_t id, uint32_t parent) {
    if (parent == 0) return;
    for (size_t i = 0; i < 64; i++) {
        if (streams[i].id != 0) continue;
        streams[i].id = id;
        streams[i].behavior[0] = 0;
        return;
    }
}

uint32_t EXPORT(proxy_on_vm_start)(uint32_t id, size_t size) { return 1; }

uint32_t EXPORT(proxy_on_configure)(uint32_t id, size_t size) {
    say(INFO, "configure", "%s", buffer(CONFIGURATION, 0, size));
    return 1;
}

static void remember_behavior(stream_t *stream) {
    const char *path = header(REQUEST, ":path");
    size_t size = 0;
    if (*path == '/') path++;
    while (path[size] != 0 && path[size] != '?' && size < 63) size++;
    memcpy(stream->behavior, path, size);
    stream->behavior[size] = 0;
}

typedef struct {
    const char *behavior;
    action_t (*run)(stream_t *);
} row_t;

static const row_t on_request[] = {
    {"headers", headers_request},       {"map", map_request},
    {"path", path_request},             {"local-reply", reply_request},
    {"local-reply-grpc", reply_request}, {"grpc-call", grpc_start},
    {"grpc-stream", grpc_start},        {"grpc-cancel", grpc_start},
    {"tick", tick_request},             {"shared-data", shared_data_request},
    {"queue", queue_request},           {"metrics", metrics_request},
    {"properties", properties_request}, {"clock", clock_request},
    {"log", log_request},               {"foreign", foreign_request},
    {"phase", phase_request},
};

uint32_t EXPORT(proxy_on_request_headers)(uint32_t id, size_t count, uint32_t end) {
    stream_t *stream = stream_of(id);
    if (stream == NULL) return CONTINUE;
    remember_behavior(stream);
    if (is(stream, "trap")) __builtin_trap();
    if (is_body(stream)) body_headers(stream, REQUEST);
    if (is_http_call(stream) && !is(stream, "http-call-response"))
        return http_call_start(stream, REQUEST);
    for (size_t i = 0; i < sizeof on_request / sizeof *on_request; i++)
        if (is(stream, on_request[i].behavior)) return on_request[i].run(stream);
    return CONTINUE;
}

uint32_t EXPORT(proxy_on_request_body)(uint32_t id, size_t size, uint32_t end) {
    stream_t *stream = stream_of(id);
    if (is(stream, "local-reply-late")) return reply_body(stream, end);
    return is_body(stream) ? body_chunk(stream, REQUEST_BODY, size, end) : CONTINUE;
}

uint32_t EXPORT(proxy_on_response_headers)(uint32_t id, size_t count, uint32_t end) {
    stream_t *stream = stream_of(id);
    if (is(stream, "headers")) headers_response();
    if (is(stream, "properties")) properties_response();
    if (is_body(stream)) body_headers(stream, RESPONSE);
    if (is(stream, "http-call-response")) return http_call_start(stream, RESPONSE);
    if (stream != NULL && strncmp(stream->behavior, "local-reply", 11) == 0)
        return reply_response(stream);
    return CONTINUE;
}

uint32_t EXPORT(proxy_on_response_body)(uint32_t id, size_t size, uint32_t end) {
    stream_t *stream = stream_of(id);
    return is_body(stream) ? body_chunk(stream, RESPONSE_BODY, size, end) : CONTINUE;
}

uint32_t EXPORT(proxy_on_done)(uint32_t id) {
    if (is(stream_of(id), "done")) say(INFO, "done", "done");
    return 1;
}

void EXPORT(proxy_on_log)(uint32_t id) {
    if (is(stream_of(id), "done")) say(INFO, "done", "log %s", header(RESPONSE, ":status"));
}

void EXPORT(proxy_on_delete)(uint32_t id) {
    stream_t *stream = stream_of(id);
    if (is(stream, "done")) say(INFO, "done", "delete");
    if (stream != NULL) stream->id = 0;
}

void EXPORT(proxy_on_tick)(uint32_t id) { tick(); }

void EXPORT(proxy_on_queue_ready)(uint32_t id, uint32_t queue) { queue_ready(queue); }

void EXPORT(proxy_on_http_call_response)(uint32_t id, uint32_t call, size_t headers, size_t body,
                                         size_t trailers) {
    http_call_end(call, headers, body, trailers);
}

void EXPORT(proxy_on_grpc_receive_initial_metadata)(uint32_t id, uint32_t call, size_t count) {
    grpc_initial(call);
}

void EXPORT(proxy_on_grpc_receive)(uint32_t id, uint32_t call, size_t size) {
    grpc_message(call, size);
}

void EXPORT(proxy_on_grpc_receive_trailing_metadata)(uint32_t id, uint32_t call, size_t count) {
    grpc_trailing(call);
}

void EXPORT(proxy_on_grpc_close)(uint32_t id, uint32_t call, uint32_t status) {
    grpc_end(call, status);
}
