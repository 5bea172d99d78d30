// Ticks, shared data, queues, metrics, properties, clocks and logs.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "behaviors.h"

static uint32_t waiting;
static uint32_t ticks;

action_t tick_request(stream_t *stream) {
    waiting = stream->id;
    ticks = 0;
    say(INFO, "tick", "period %s", word(proxy_set_tick_period_milliseconds(20)));
    return PAUSE;
}

void tick(void) {
    if (waiting == 0) return;
    ticks++;
    say(INFO, "tick", "%u", ticks);
    if (ticks < 3) return;
    proxy_set_tick_period_milliseconds(0);
    say(INFO, "tick", "other context %s", word(proxy_set_effective_context(0x7fffffff)));
    say(INFO, "tick", "context %s", word(proxy_set_effective_context(waiting)));
    replace(REQUEST, "x-ticks", "3");
    say(INFO, "tick", "continue %s", word(proxy_continue_stream(0)));
    waiting = 0;
}

static const char shared_key[] = "guest.key";

static uint32_t shared_get(void) {
    char *data = NULL;
    size_t size = 0;
    uint32_t cas = 0;
    uint32_t status =
        proxy_get_shared_data(shared_key, sizeof shared_key - 1, &data, &size, &cas);
    say(INFO, "shared-data", "get %s '%s'", word(status), take(data, size));
    return cas;
}

static void shared_set(const char *value, uint32_t cas) {
    uint32_t status = proxy_set_shared_data(shared_key, sizeof shared_key - 1, value,
                                            strlen(value), cas);
    say(INFO, "shared-data", "set '%s' %s", value, word(status));
}

action_t shared_data_request(stream_t *stream) {
    shared_get();
    shared_set("one", 0);
    uint32_t cas = shared_get();
    shared_set("two", cas);
    shared_set("three", cas);
    shared_get();
    shared_set("", 0);
    shared_get();
    return CONTINUE;
}

static void dequeue(uint32_t queue) {
    char *data = NULL;
    size_t size = 0;
    uint32_t status = proxy_dequeue_shared_queue(queue, &data, &size);
    say(INFO, "queue", "dequeue %s '%s'", word(status), take(data, size));
}

action_t queue_request(stream_t *stream) {
    static const char vm[] = "plugin_vm_id";
    const char *vm_id = property(vm, sizeof vm - 1);
    uint32_t queue = 0, found = 0;
    say(INFO, "queue", "register %s", word(proxy_register_shared_queue("jobs", 4, &queue)));
    uint32_t status = proxy_resolve_shared_queue(vm_id, strlen(vm_id), "jobs", 4, &found);
    say(INFO, "queue", "resolve %s %s", word(status), found == queue ? "same" : "other");
    status = proxy_resolve_shared_queue(vm_id, strlen(vm_id), "none", 4, &found);
    say(INFO, "queue", "resolve %s", word(status));
    say(INFO, "queue", "enqueue %s", word(proxy_enqueue_shared_queue(queue, "first", 5)));
    say(INFO, "queue", "enqueue %s", word(proxy_enqueue_shared_queue(queue + 999, "x", 1)));
    return CONTINUE;
}

void queue_ready(uint32_t queue) {
    say(INFO, "queue", "ready");
    dequeue(queue);
    dequeue(queue);
    dequeue(queue + 999);
}

static uint32_t define(uint32_t type, const char *name) {
    uint32_t metric = 0;
    say(INFO, "metrics", "define %s", word(proxy_define_metric(type, name, strlen(name), &metric)));
    return metric;
}

static void get_metric(uint32_t metric) {
    uint64_t value = 0;
    uint32_t status = proxy_get_metric(metric, &value);
    say(INFO, "metrics", "get %s %llu", word(status), status == OK ? value : 0);
}

action_t metrics_request(stream_t *stream) {
    uint32_t counter = define(0, "guest_counter");
    uint32_t gauge = define(1, "guest_gauge");
    uint32_t histogram = define(2, "guest_histogram");
    say(INFO, "metrics", "increment %s", word(proxy_increment_metric(counter, 3)));
    say(INFO, "metrics", "increment %s", word(proxy_increment_metric(counter, -1)));
    get_metric(counter);
    say(INFO, "metrics", "record %s", word(proxy_record_metric(counter, 9)));
    get_metric(counter);
    say(INFO, "metrics", "record %s", word(proxy_record_metric(gauge, 7)));
    say(INFO, "metrics", "increment %s", word(proxy_increment_metric(gauge, -2)));
    get_metric(gauge);
    say(INFO, "metrics", "record %s", word(proxy_record_metric(histogram, 5)));
    say(INFO, "metrics", "increment %s", word(proxy_increment_metric(histogram, 1)));
    get_metric(histogram);
    get_metric(999999);
    get_metric(4000);
    say(INFO, "metrics", "again %s", define(0, "guest_counter") == counter ? "same" : "other");
    return CONTINUE;
}

#define SHOW(path, name) say(INFO, "properties", name "=%s", property(path, sizeof path - 1))

action_t properties_request(stream_t *stream) {
    SHOW("request\0path", "request.path");
    SHOW("request\0url_path", "request.url_path");
    SHOW("request\0method", "request.method");
    SHOW("request\0host", "request.host");
    SHOW("request\0scheme", "request.scheme");
    SHOW("request\0protocol", "request.protocol");
    SHOW("request\0query", "request.query");
    SHOW("request\0useragent", "request.useragent");
    SHOW("request\0headers\0x-in", "request.headers.x-in");
    SHOW("request\0headers\0x-none", "request.headers.x-none");
    SHOW("plugin_name", "plugin_name");
    SHOW("plugin_root_id", "plugin_root_id");
    SHOW("xds\0cluster_name", "xds.cluster_name");
    SHOW("xds\0route_name", "xds.route_name");
    SHOW("response\0code", "response.code");
    SHOW("no\0such", "no.such");
    static const char path[] = "guest\0mark";
    say(INFO, "properties", "set %s", word(proxy_set_property(path, 10, "here", 4)));
    SHOW("guest\0mark", "guest.mark");
    char *data = NULL;
    size_t size = 0;
    uint32_t status = proxy_get_property("connection\0id", 13, &data, &size);
    say(INFO, "properties", "connection.id %s, %zu bytes", word(status), size);
    free(data);
    return CONTINUE;
}

void properties_response(void) {
    char *data = NULL;
    size_t size = 0;
    uint32_t status = proxy_get_property("response\0code", 13, &data, &size);
    say(INFO, "properties", "response.code %s %s", word(status), hexadecimal(data, size));
    free(data);
    SHOW("request\0path", "request.path");
    SHOW("guest\0mark", "guest.mark");
}

action_t clock_request(stream_t *stream) {
    uint64_t now = 0;
    uint32_t status = proxy_get_current_time_nanoseconds(&now);
    struct timespec wall, monotonic;
    bool has_wall = clock_gettime(CLOCK_REALTIME, &wall) == 0;
    bool has_monotonic = clock_gettime(CLOCK_MONOTONIC, &monotonic) == 0;
    int64_t difference = (int64_t)(now / 1000000000) - (int64_t)wall.tv_sec;
    say(INFO, "clock", "host %s %s", word(status), now > 0 ? "positive" : "zero");
    say(INFO, "clock", "wall %s", has_wall && difference * difference <= 1 ? "equal" : "different");
    say(INFO, "clock", "monotonic %s",
        has_monotonic && (monotonic.tv_sec > 0 || monotonic.tv_nsec > 0) ? "positive" : "zero");
    return CONTINUE;
}

action_t log_request(stream_t *stream) {
    say(TRACE, "log", "trace");
    say(DEBUG, "log", "debug");
    say(INFO, "log", "info");
    say(WARN, "log", "warn");
    say(ERROR, "log", "error");
    say(CRITICAL, "log", "critical");
    uint32_t level = 99;
    uint32_t status = proxy_get_log_level(&level);
    say(INFO, "log", "level %s %u", word(status), level);
    // One call of fd_write is one line of the log.
    write(STDERR_FILENO, "log: stderr\n", 12);
    write(STDOUT_FILENO, "log: stdout\n", 12);
    return CONTINUE;
}

action_t foreign_request(stream_t *stream) {
    char *data = NULL;
    size_t size = 0;
    uint32_t status = proxy_call_foreign_function("no_such", 7, "", 0, &data, &size);
    say(INFO, "foreign", "no_such %s", word(status));
    return CONTINUE;
}

action_t phase_request(stream_t *stream) {
    say(INFO, "phase", "response header %s", header(RESPONSE, ":status"));
    say(INFO, "phase", "response body %s", buffer(RESPONSE_BODY, 0, 1));
    say(INFO, "phase", "request body %s", buffer(REQUEST_BODY, 0, 1));
    say(INFO, "phase", "call header %s", header(CALL, ":status"));
    say(INFO, "phase", "call body %s", buffer(CALL_BODY, 0, 1));
    say(INFO, "phase", "add %s", word(add(RESPONSE, "x-early", "1")));
    return CONTINUE;
}
