// Helpers over the host calls: text values, logs and serialized header maps.
#include "host.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// A callback formats few values; each gets its own buffer until all have been used.
static char texts[16][1024];
static unsigned next_text;

static char *text_buffer(void) { return texts[next_text++ % 16]; }

const char *word(uint32_t status) {
    static const char *const words[] = {
        "ok",         "not found", "bad argument", "serialization failure", "parse failure",
        "bad expression", "invalid memory access", "empty", "cas mismatch", "result mismatch",
        "internal failure", "broken connection", "unimplemented",
    };
    return status < sizeof words / sizeof *words ? words[status] : "another status";
}

void say(level_t level, const char *behavior, const char *format, ...) {
    char line[2048];
    int size = snprintf(line, sizeof line, "%s: ", behavior);
    va_list arguments;
    va_start(arguments, format);
    size += vsnprintf(line + size, sizeof line - size, format, arguments);
    va_end(arguments);
    proxy_log(level, line, size);
}

const char *take(char *data, size_t size) {
    char *text = text_buffer();
    size_t copied = size < 1023 ? size : 1023;
    if (copied > 0) memcpy(text, data, copied);
    text[copied] = 0;
    free(data);
    return text;
}

static const char *value_or_word(uint32_t status, char *data, size_t size) {
    return status == OK ? take(data, size) : word(status);
}

const char *header(map_t map, const char *name) {
    char *data = NULL;
    size_t size = 0;
    uint32_t status = proxy_get_header_map_value(map, name, strlen(name), &data, &size);
    return value_or_word(status, data, size);
}

const char *buffer(buffer_t buffer, size_t start, size_t length) {
    char *data = NULL;
    size_t size = 0;
    uint32_t status = proxy_get_buffer_bytes(buffer, start, length, &data, &size);
    return value_or_word(status, data, size);
}

const char *property(const char *path, size_t path_size) {
    char *data = NULL;
    size_t size = 0;
    uint32_t status = proxy_get_property(path, path_size, &data, &size);
    return value_or_word(status, data, size);
}

uint32_t add(map_t map, const char *name, const char *value) {
    return proxy_add_header_map_value(map, name, strlen(name), value, strlen(value));
}

uint32_t replace(map_t map, const char *name, const char *value) {
    return proxy_replace_header_map_value(map, name, strlen(name), value, strlen(value));
}

uint32_t erase(map_t map, const char *name) {
    return proxy_remove_header_map_value(map, name, strlen(name));
}

const char *hexadecimal(const char *data, size_t size) {
    char *text = text_buffer();
    size_t shown = size < 500 ? size : 500;
    for (size_t i = 0; i < shown; i++) sprintf(text + 2 * i, "%02x", (unsigned char)data[i]);
    text[2 * shown] = 0;
    return text;
}

static void put(map_bytes_t *out, const void *data, size_t size) {
    memcpy(out->bytes + out->size, data, size);
    out->size += size;
}

// The number of pairs, the lengths of each, and then each name and value with a zero byte.
void serialize(map_bytes_t *out, const pair_t *pairs, size_t count) {
    uint32_t number = count;
    out->size = 0;
    put(out, &number, 4);
    for (size_t i = 0; i < count; i++) {
        uint32_t sizes[] = {pairs[i].name_size, pairs[i].value_size};
        put(out, sizes, sizeof sizes);
    }
    for (size_t i = 0; i < count; i++) {
        put(out, pairs[i].name, pairs[i].name_size);
        put(out, "", 1);
        put(out, pairs[i].value, pairs[i].value_size);
        put(out, "", 1);
    }
}

size_t parse_map(const char *data, size_t size, pair_t *pairs, size_t most) {
    uint32_t count = 0;
    if (size < 4) return 0;
    memcpy(&count, data, 4);
    const char *next = data + 4 + 8 * (size_t)count;
    for (size_t i = 0; i < count && i < most; i++) {
        uint32_t sizes[2];
        memcpy(sizes, data + 4 + 8 * i, 8);
        pairs[i] = (pair_t){next, sizes[0], next + sizes[0] + 1, sizes[1]};
        next += sizes[0] + sizes[1] + 2;
    }
    return count < most ? count : most;
}
