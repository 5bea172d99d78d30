package main

import (
	"encoding/hex"
	"strconv"
	"unsafe"
)

// Calls to other clusters: HTTP, gRPC messages and gRPC streams. A stream waits for its call.

// callers has the streams that wait, by the number of their call.
var callers = map[uint32]*stream{}

func argument(name, otherwise string) string {
	if value, status := lookUp(mapRequest, name); status == 0 {
		return value
	}
	return otherwise
}

func timeout() uint32 {
	milliseconds, _ := strconv.Atoi(argument("x-timeout", "1000"))
	return uint32(milliseconds)
}

// continueWith continues the stream with a header that has the result.
func continueWith(s *stream, name, value string) {
	proxySetEffectiveContext(s.id)
	if s.behavior == "http-call-response" {
		replaceHeader(mapResponse, name, value)
		proxyContinueStream(1)
	} else {
		replaceHeader(mapRequest, name, value)
		proxyContinueStream(0)
	}
}

func httpCallStart(s *stream, kind uint32) uint32 {
	// The request headers are not readable in the response phase.
	cluster, limit := "callout", uint32(1000)
	if kind == mapRequest {
		cluster, limit = argument("x-cluster", "callout"), timeout()
	}
	pairs := []pair{{":method", "POST"}, {":authority", "callout.example"}, {"x-asked", "1"}}
	if s.behavior != "http-call-bare" {
		pairs = append(pairs, pair{":path", "/answer"})
	}
	upstream, upstreamSize := bytesOf(cluster)
	headers, headersSize := bytesOf(serialize(pairs))
	body, bodySize := bytesOf("question")
	trailers, trailersSize := bytesOf(serialize(nil))
	var call uint32
	status := proxyHTTPCall(upstream, upstreamSize, headers, headersSize, body, bodySize, trailers, trailersSize, limit, unsafe.Pointer(&call))
	say(s.behavior, "dispatch %s", word(status))
	if status != 0 {
		replaceHeader(kind, "x-call", word(status))
		return actionContinue
	}
	callers[call] = s
	return actionPause
}

func httpCallEnd(call, headers, body, trailers uint32) {
	s := callers[call]
	if s == nil {
		return
	}
	delete(callers, call)
	code, text := header(mapCall, ":status"), ""
	if body > 0 {
		text = buffer(bufferCall, 0, body)
	}
	say(s.behavior, "response %s x-answer=%s body=%s trailers=%d", code, header(mapCall, "x-answer"), text, trailers)
	if headers == 0 {
		code = "none"
	}
	if s.behavior != "http-call-reply" {
		continueWith(s, "x-call", code)
		return
	}
	proxySetEffectiveContext(s.id)
	reply(s, 401, text, nil, -1)
}

func grpcStart(s *stream) uint32 {
	upstream, upstreamSize := bytesOf(argument("x-cluster", "grpc"))
	service, serviceSize := bytesOf("guest.Echo")
	method, methodSize := bytesOf("Say")
	metadata, metadataSize := bytesOf(serialize([]pair{{"x-meta", "m"}}))
	message, messageSize := bytesOf("\x00\x01\xffhi")
	var call, status uint32
	if s.behavior == "grpc-stream" {
		status = proxyGRPCStream(upstream, upstreamSize, service, serviceSize, method, methodSize, metadata, metadataSize, unsafe.Pointer(&call))
	} else {
		status = proxyGRPCCall(upstream, upstreamSize, service, serviceSize, method, methodSize, metadata, metadataSize, message, messageSize, timeout(), unsafe.Pointer(&call))
	}
	say(s.behavior, "open %s", word(status))
	if status != 0 {
		replaceHeader(mapRequest, "x-grpc", word(status))
		return actionContinue
	}
	if s.behavior == "grpc-cancel" {
		say(s.behavior, "cancel %s", word(proxyGRPCCancel(call)))
		say(s.behavior, "cancel %s", word(proxyGRPCCancel(call)))
		return actionContinue
	}
	callers[call] = s
	if s.behavior == "grpc-stream" {
		one, oneSize := bytesOf("one")
		say(s.behavior, "send %s", word(proxyGRPCSend(call, one, oneSize, 0)))
		two, twoSize := bytesOf("two")
		say(s.behavior, "send %s", word(proxyGRPCSend(call, two, twoSize, 1)))
	}
	return actionPause
}

func grpcInitial(call uint32) {
	if s := callers[call]; s != nil {
		say(s.behavior, "initial x-initial=%s", header(mapGRPCInitial, "x-initial"))
	}
}

func grpcMessage(call, size uint32) {
	s := callers[call]
	if s == nil {
		return
	}
	var r returned
	data, dataSize := r.outputs()
	message := word(proxyGetBufferBytes(bufferGRPC, 0, size, data, dataSize))
	if message == "ok" {
		message = hex.EncodeToString([]byte(r.text()))
	}
	say(s.behavior, "message %s", message)
	// The host does not report the end of a unary call that succeeds.
	if s.behavior == "grpc-call" {
		delete(callers, call)
		continueWith(s, "x-grpc", "message")
	}
}

func grpcTrailing(call uint32) {
	if s := callers[call]; s != nil {
		say(s.behavior, "trailing x-trailing=%s", header(mapGRPCTrailer, "x-trailing"))
	}
}

func grpcEnd(call, code uint32) {
	s := callers[call]
	if s == nil {
		return
	}
	delete(callers, call)
	var r returned
	var statusCode uint32
	data, size := r.outputs()
	status := proxyGetStatus(unsafe.Pointer(&statusCode), data, size)
	say(s.behavior, "close %d, status %s %d %s", code, word(status), statusCode, r.text())
	if code == 0 {
		continueWith(s, "x-grpc", "ended")
	} else {
		continueWith(s, "x-grpc", "failed")
	}
}
