// The specification's guest in Go, with the standard library only. Its callbacks find the behavior
// of the stream and run it.
package main

import "strings"

// stream is one request and its response. The first part of the path names the behavior.
type stream struct {
	id       uint32
	behavior string
}

var streams = map[uint32]*stream{}

// streamOf returns the stream of a context, or one without a behavior.
func streamOf(id uint32) *stream {
	if s := streams[id]; s != nil {
		return s
	}
	return &stream{}
}

//go:wasmexport proxy_abi_version_0_2_1
func abiVersion() {}

//go:wasmexport proxy_on_context_create
func onContextCreate(id, parent uint32) {
	if parent != 0 {
		streams[id] = &stream{id: id}
	}
}

//go:wasmexport proxy_on_vm_start
func onVMStart(id, size uint32) uint32 { return 1 }

//go:wasmexport proxy_on_configure
func onConfigure(id, size uint32) uint32 {
	say("configure", "%s", buffer(bufferConfiguration, 0, size))
	return 1
}

//go:wasmexport proxy_on_request_headers
func onRequestHeaders(id, count, end uint32) uint32 {
	s := streamOf(id)
	path := strings.TrimPrefix(header(mapRequest, ":path"), "/")
	s.behavior, _, _ = strings.Cut(path, "?")
	switch s.behavior {
	case "headers":
		return headersRequest()
	case "map":
		return mapHeaders()
	case "path":
		return pathRequest()
	case "local-reply", "local-reply-grpc":
		return replyRequest(s)
	case "http-call-response":
		return actionContinue
	case "grpc-call", "grpc-stream", "grpc-cancel":
		return grpcStart(s)
	case "tick":
		return tickRequest(s)
	case "shared-data":
		return sharedData()
	case "queue":
		return queue()
	case "metrics":
		return metrics()
	case "properties":
		return propertiesRequest()
	case "clock":
		return clock()
	case "log":
		return logAll()
	case "foreign":
		return foreign()
	case "phase":
		return phase()
	case "trap":
		panic("the client asked for it")
	}
	switch {
	case strings.HasPrefix(s.behavior, "body-"):
		return bodyHeaders(s, mapRequest)
	case strings.HasPrefix(s.behavior, "http-call"):
		return httpCallStart(s, mapRequest)
	}
	return actionContinue
}

//go:wasmexport proxy_on_request_body
func onRequestBody(id, size, end uint32) uint32 {
	s := streamOf(id)
	if s.behavior == "local-reply-late" {
		return replyBody(s, end != 0)
	}
	return bodyChunk(s, bufferRequest, size, end != 0)
}

//go:wasmexport proxy_on_response_headers
func onResponseHeaders(id, count, end uint32) uint32 {
	s := streamOf(id)
	switch s.behavior {
	case "headers":
		return headersResponse()
	case "properties":
		return propertiesResponse()
	case "http-call-response":
		return httpCallStart(s, mapResponse)
	}
	switch {
	case strings.HasPrefix(s.behavior, "body-"):
		return bodyHeaders(s, mapResponse)
	case strings.HasPrefix(s.behavior, "local-reply"):
		return replyResponse(s)
	}
	return actionContinue
}

//go:wasmexport proxy_on_response_body
func onResponseBody(id, size, end uint32) uint32 {
	return bodyChunk(streamOf(id), bufferResponse, size, end != 0)
}

//go:wasmexport proxy_on_done
func onDone(id uint32) uint32 {
	if streamOf(id).behavior == "done" {
		say("done", "done")
	}
	return 1
}

//go:wasmexport proxy_on_log
func onLog(id uint32) {
	if streamOf(id).behavior == "done" {
		say("done", "log %s", header(mapResponse, ":status"))
	}
}

//go:wasmexport proxy_on_delete
func onDelete(id uint32) {
	if streamOf(id).behavior == "done" {
		say("done", "delete")
	}
	delete(streams, id)
}

//go:wasmexport proxy_on_tick
func onTick(id uint32) { tick() }

//go:wasmexport proxy_on_queue_ready
func onQueueReady(id, queue uint32) { queueReady(queue) }

//go:wasmexport proxy_on_http_call_response
func onHTTPCallResponse(id, call, headers, body, trailers uint32) {
	httpCallEnd(call, headers, body, trailers)
}

//go:wasmexport proxy_on_grpc_receive_initial_metadata
func onGRPCInitial(id, call, count uint32) { grpcInitial(call) }

//go:wasmexport proxy_on_grpc_receive
func onGRPCReceive(id, call, size uint32) { grpcMessage(call, size) }

//go:wasmexport proxy_on_grpc_receive_trailing_metadata
func onGRPCTrailing(id, call, count uint32) { grpcTrailing(call) }

//go:wasmexport proxy_on_grpc_close
func onGRPCClose(id, call, status uint32) { grpcEnd(call, status) }

func main() {}
