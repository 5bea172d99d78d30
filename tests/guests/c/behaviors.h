// The behaviors of the specification, one function for each callback that a behavior uses.
#ifndef BEHAVIORS_H
#define BEHAVIORS_H

#include "host.h"

// A stream of the plugin. The first part of the path names the behavior.
typedef struct {
    uint32_t id;
    char behavior[64];
} stream_t;

// The stream that waits for ticks or calls, if there is one.
stream_t *stream_of(uint32_t id);

bool is(const stream_t *stream, const char *behavior);

action_t headers_request(stream_t *stream);
void headers_response(void);
action_t map_request(stream_t *stream);
action_t path_request(stream_t *stream);

bool is_body(const stream_t *stream);
void body_headers(stream_t *stream, map_t map);
action_t body_chunk(stream_t *stream, buffer_t body, size_t size, bool end);

action_t reply_request(stream_t *stream);
action_t reply_body(stream_t *stream, bool end);
action_t reply_response(stream_t *stream);

bool is_http_call(const stream_t *stream);
action_t http_call_start(stream_t *stream, map_t map);
void http_call_end(uint32_t call, size_t headers, size_t body, size_t trailers);

action_t grpc_start(stream_t *stream);
void grpc_initial(uint32_t call);
void grpc_message(uint32_t call, size_t size);
void grpc_trailing(uint32_t call);
void grpc_end(uint32_t call, uint32_t status);

action_t tick_request(stream_t *stream);
void tick(void);

action_t shared_data_request(stream_t *stream);
action_t queue_request(stream_t *stream);
void queue_ready(uint32_t queue);
action_t metrics_request(stream_t *stream);
action_t properties_request(stream_t *stream);
void properties_response(void);
action_t clock_request(stream_t *stream);
action_t log_request(stream_t *stream);
action_t foreign_request(stream_t *stream);
action_t phase_request(stream_t *stream);

#endif
