// The host calls of proxy-wasm 0.2.1, and the helpers of this guest over them.
#ifndef HOST_H
#define HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IMPORT(name) __attribute__((import_module("env"), import_name(#name))) extern uint32_t name
#define EXPORT(name) __attribute__((export_name(#name))) name

typedef enum { TRACE, DEBUG, INFO, WARN, ERROR, CRITICAL } level_t;
typedef enum { REQUEST = 0, RESPONSE = 2, GRPC_INITIAL = 4, GRPC_TRAILING = 5, CALL = 6 } map_t;
typedef enum { REQUEST_BODY, RESPONSE_BODY, CONFIGURATION = 7, CALL_BODY = 4, GRPC_MESSAGE = 5 } buffer_t;
typedef enum { CONTINUE = 0, PAUSE = 1 } action_t;
enum { OK = 0, NOT_FOUND = 1 };

IMPORT(proxy_log)(uint32_t level, const char *text, size_t size);
IMPORT(proxy_get_log_level)(uint32_t *level);
IMPORT(proxy_get_current_time_nanoseconds)(uint64_t *time);
IMPORT(proxy_set_tick_period_milliseconds)(uint32_t period);
IMPORT(proxy_set_effective_context)(uint32_t context);
IMPORT(proxy_continue_stream)(uint32_t direction);
IMPORT(proxy_send_local_response)(uint32_t status, const char *details, size_t details_size,
                                  const char *body, size_t body_size, const char *headers,
                                  size_t headers_size, int32_t grpc_status);
IMPORT(proxy_get_buffer_bytes)(uint32_t buffer, size_t start, size_t length, char **data,
                               size_t *size);
IMPORT(proxy_set_buffer_bytes)(uint32_t buffer, size_t start, size_t length, const char *data,
                               size_t size);
IMPORT(proxy_get_header_map_pairs)(uint32_t map, char **data, size_t *size);
IMPORT(proxy_set_header_map_pairs)(uint32_t map, const char *data, size_t size);
IMPORT(proxy_get_header_map_value)(uint32_t map, const char *name, size_t name_size, char **value,
                                   size_t *value_size);
IMPORT(proxy_add_header_map_value)(uint32_t map, const char *name, size_t name_size,
                                   const char *value, size_t value_size);
IMPORT(proxy_replace_header_map_value)(uint32_t map, const char *name, size_t name_size,
                                       const char *value, size_t value_size);
IMPORT(proxy_remove_header_map_value)(uint32_t map, const char *name, size_t name_size);
IMPORT(proxy_get_property)(const char *path, size_t path_size, char **value, size_t *value_size);
IMPORT(proxy_set_property)(const char *path, size_t path_size, const char *value,
                           size_t value_size);
IMPORT(proxy_get_shared_data)(const char *key, size_t key_size, char **value, size_t *value_size,
                              uint32_t *cas);
IMPORT(proxy_set_shared_data)(const char *key, size_t key_size, const char *value,
                              size_t value_size, uint32_t cas);
IMPORT(proxy_register_shared_queue)(const char *name, size_t name_size, uint32_t *queue);
IMPORT(proxy_resolve_shared_queue)(const char *vm, size_t vm_size, const char *name,
                                   size_t name_size, uint32_t *queue);
IMPORT(proxy_enqueue_shared_queue)(uint32_t queue, const char *value, size_t value_size);
IMPORT(proxy_dequeue_shared_queue)(uint32_t queue, char **value, size_t *value_size);
IMPORT(proxy_define_metric)(uint32_t type, const char *name, size_t name_size, uint32_t *metric);
IMPORT(proxy_increment_metric)(uint32_t metric, int64_t offset);
IMPORT(proxy_record_metric)(uint32_t metric, uint64_t value);
IMPORT(proxy_get_metric)(uint32_t metric, uint64_t *value);
IMPORT(proxy_http_call)(const char *upstream, size_t upstream_size, const char *headers,
                        size_t headers_size, const char *body, size_t body_size,
                        const char *trailers, size_t trailers_size, uint32_t timeout,
                        uint32_t *call);
IMPORT(proxy_grpc_call)(const char *upstream, size_t upstream_size, const char *service,
                        size_t service_size, const char *method, size_t method_size,
                        const char *metadata, size_t metadata_size, const char *message,
                        size_t message_size, uint32_t timeout, uint32_t *call);
IMPORT(proxy_grpc_stream)(const char *upstream, size_t upstream_size, const char *service,
                          size_t service_size, const char *method, size_t method_size,
                          const char *metadata, size_t metadata_size, uint32_t *call);
IMPORT(proxy_grpc_send)(uint32_t call, const char *message, size_t size, uint32_t end);
IMPORT(proxy_grpc_cancel)(uint32_t call);
IMPORT(proxy_get_status)(uint32_t *code, char **message, size_t *size);
IMPORT(proxy_call_foreign_function)(const char *name, size_t name_size, const char *arguments,
                                    size_t arguments_size, char **result, size_t *result_size);

// The name of a status of the ABI.
const char *word(uint32_t status);

// Logs "BEHAVIOR: " and a formatted text.
void say(level_t level, const char *behavior, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

// A value as text: the value, or the name of the status. The caller does not free it.
const char *header(map_t map, const char *name);
const char *buffer(buffer_t buffer, size_t start, size_t length);
const char *property(const char *path, size_t size);

uint32_t add(map_t map, const char *name, const char *value);
uint32_t replace(map_t map, const char *name, const char *value);
uint32_t erase(map_t map, const char *name);

// Copies data of the host as text that ends with a zero byte, and frees the data.
const char *take(char *data, size_t size);

// The two hexadecimal digits of each byte.
const char *hexadecimal(const char *data, size_t size);

// A serialized header map.
typedef struct {
    char bytes[8192];
    size_t size;
} map_bytes_t;

typedef struct {
    const char *name;
    size_t name_size;
    const char *value;
    size_t value_size;
} pair_t;

void serialize(map_bytes_t *out, const pair_t *pairs, size_t count);
size_t parse_map(const char *data, size_t size, pair_t *pairs, size_t most);

#endif
