package main

import (
	"encoding/hex"
	"os"
	"time"
	"unsafe"
)

// Ticks, shared data, queues, metrics, properties, clocks and logs.

// waiting is the stream that waits for ticks.
var waiting *stream
var ticks uint32

func tickRequest(s *stream) uint32 {
	waiting, ticks = s, 0
	say("tick", "period %s", word(proxySetTickPeriod(20)))
	return actionPause
}

func tick() {
	if waiting == nil {
		return
	}
	ticks++
	say("tick", "%d", ticks)
	if ticks < 3 {
		return
	}
	proxySetTickPeriod(0)
	say("tick", "other context %s", word(proxySetEffectiveContext(0x7fffffff)))
	say("tick", "context %s", word(proxySetEffectiveContext(waiting.id)))
	replaceHeader(mapRequest, "x-ticks", "3")
	say("tick", "continue %s", word(proxyContinueStream(0)))
	waiting = nil
}

const sharedKey = "guest.key"

func sharedGet() uint32 {
	var r returned
	var cas uint32
	data, size := r.outputs()
	key, keySize := bytesOf(sharedKey)
	status := proxyGetSharedData(key, keySize, data, size, unsafe.Pointer(&cas))
	say("shared-data", "get %s '%s'", word(status), r.text())
	return cas
}

func sharedSet(text string, cas uint32) {
	key, keySize := bytesOf(sharedKey)
	value, valueSize := bytesOf(text)
	say("shared-data", "set '%s' %s", text, word(proxySetSharedData(key, keySize, value, valueSize, cas)))
}

func sharedData() uint32 {
	sharedGet()
	sharedSet("one", 0)
	cas := sharedGet()
	sharedSet("two", cas)
	sharedSet("three", cas)
	sharedGet()
	sharedSet("", 0)
	sharedGet()
	return actionContinue
}

func queue() uint32 {
	vm, _ := getProperty("plugin_vm_id")
	vmText, vmSize := bytesOf(vm)
	jobs, jobsSize := bytesOf("jobs")
	none, noneSize := bytesOf("none")
	var id, found uint32
	say("queue", "register %s", word(proxyRegisterSharedQueue(jobs, jobsSize, unsafe.Pointer(&id))))
	status := proxyResolveSharedQueue(vmText, vmSize, jobs, jobsSize, unsafe.Pointer(&found))
	same := "other"
	if found == id {
		same = "same"
	}
	say("queue", "resolve %s %s", word(status), same)
	status = proxyResolveSharedQueue(vmText, vmSize, none, noneSize, unsafe.Pointer(&found))
	say("queue", "resolve %s", word(status))
	first, firstSize := bytesOf("first")
	say("queue", "enqueue %s", word(proxyEnqueueSharedQueue(id, first, firstSize)))
	say("queue", "enqueue %s", word(proxyEnqueueSharedQueue(id+999, first, firstSize)))
	return actionContinue
}

func dequeue(id uint32) {
	var r returned
	data, size := r.outputs()
	status := proxyDequeueSharedQueue(id, data, size)
	say("queue", "dequeue %s '%s'", word(status), r.text())
}

func queueReady(id uint32) {
	say("queue", "ready")
	dequeue(id)
	dequeue(id)
	dequeue(id + 999)
}

func define(kind uint32, name string) uint32 {
	var metric uint32
	text, size := bytesOf(name)
	say("metrics", "define %s", word(proxyDefineMetric(kind, text, size, unsafe.Pointer(&metric))))
	return metric
}

func getMetric(metric uint32) {
	var value uint64
	status := proxyGetMetric(metric, unsafe.Pointer(&value))
	say("metrics", "get %s %d", word(status), value)
}

func metrics() uint32 {
	counter := define(0, "guest_counter")
	gauge := define(1, "guest_gauge")
	histogram := define(2, "guest_histogram")
	record := func(metric uint32, value uint64) {
		say("metrics", "record %s", word(proxyRecordMetric(metric, value)))
	}
	increment := func(metric uint32, offset int64) {
		say("metrics", "increment %s", word(proxyIncrementMetric(metric, offset)))
	}
	increment(counter, 3)
	increment(counter, -1)
	getMetric(counter)
	record(counter, 9)
	getMetric(counter)
	record(gauge, 7)
	increment(gauge, -2)
	getMetric(gauge)
	record(histogram, 5)
	increment(histogram, 1)
	getMetric(histogram)
	getMetric(999999)
	getMetric(4000)
	same := "other"
	if define(0, "guest_counter") == counter {
		same = "same"
	}
	say("metrics", "again %s", same)
	return actionContinue
}

func show(path string) {
	value, _ := getProperty(path)
	say("properties", "%s=%s", path, value)
}

func propertiesRequest() uint32 {
	for _, path := range []string{
		"request.path", "request.url_path", "request.method", "request.host", "request.scheme",
		"request.protocol", "request.query", "request.useragent", "request.headers.x-in",
		"request.headers.x-none", "plugin_name", "plugin_root_id", "xds.cluster_name",
		"xds.route_name", "response.code", "no.such",
	} {
		show(path)
	}
	path, pathSize := bytesOf("guest\x00mark")
	value, valueSize := bytesOf("here")
	say("properties", "set %s", word(proxySetProperty(path, pathSize, value, valueSize)))
	show("guest.mark")
	id, status := getProperty("connection.id")
	say("properties", "connection.id %s, %d bytes", word(status), len(id))
	return actionContinue
}

func propertiesResponse() uint32 {
	code, status := getProperty("response.code")
	say("properties", "response.code %s %s", word(status), hex.EncodeToString([]byte(code)))
	show("request.path")
	show("guest.mark")
	return actionContinue
}

func clock() uint32 {
	var now int64
	status := proxyGetCurrentTime(unsafe.Pointer(&now))
	say("clock", "host %s %s", word(status), sign(now > 0))
	wall := time.Now()
	difference := wall.Unix() - now/1e9
	if difference*difference <= 1 {
		say("clock", "wall equal")
	} else {
		say("clock", "wall different")
	}
	// Go reads the monotonic clock for differences.
	say("clock", "monotonic %s", sign(time.Since(wall) >= 0))
	return actionContinue
}

func sign(isPositive bool) string {
	if isPositive {
		return "positive"
	}
	return "zero"
}

func logAll() uint32 {
	for level, text := range []string{"trace", "debug", "info", "warn", "error", "critical"} {
		sayAt(uint32(level), "log", "%s", text)
	}
	var level uint32 = 99
	status := proxyGetLogLevel(unsafe.Pointer(&level))
	say("log", "level %s %d", word(status), level)
	// One call of fd_write is one line of the log.
	os.Stderr.WriteString("log: stderr\n")
	os.Stdout.WriteString("log: stdout\n")
	return actionContinue
}

func foreign() uint32 {
	var r returned
	data, size := r.outputs()
	name, nameSize := bytesOf("no_such")
	say("foreign", "no_such %s", word(proxyCallForeignFunction(name, nameSize, nil, 0, data, size)))
	return actionContinue
}

func phase() uint32 {
	say("phase", "response header %s", header(mapResponse, ":status"))
	say("phase", "response body %s", buffer(bufferResponse, 0, 1))
	say("phase", "request body %s", buffer(bufferRequest, 0, 1))
	say("phase", "call header %s", header(mapCall, ":status"))
	say("phase", "call body %s", buffer(bufferCall, 0, 1))
	say("phase", "add %s", word(addHeader(mapResponse, "x-early", "1")))
	return actionContinue
}
