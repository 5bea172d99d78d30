package main

import "strings"

// Headers, bodies and local replies.

func headersRequest() uint32 {
	for _, name := range []string{"x-in", "x-none", "x-two"} {
		say("headers", "request %s=%s", name, header(mapRequest, name))
	}
	say("headers", "replace %s", word(replaceHeader(mapRequest, "x-in", "changed")))
	say("headers", "replace %s", word(replaceHeader(mapRequest, "x-new", "set")))
	say("headers", "add %s", word(addHeader(mapRequest, "x-add", "1")))
	say("headers", "add %s", word(addHeader(mapRequest, "x-add", "2")))
	say("headers", "remove %s", word(removeHeader(mapRequest, "x-gone")))
	say("headers", "remove %s", word(removeHeader(mapRequest, "x-none")))
	say("headers", "request x-add=%s", header(mapRequest, "x-add"))
	return actionContinue
}

func headersResponse() uint32 {
	say("headers", "response :status=%s", header(mapResponse, ":status"))
	say("headers", "response x-up=%s", header(mapResponse, "x-up"))
	replaceHeader(mapResponse, "x-up", "changed")
	addHeader(mapResponse, "x-resp", "1")
	addHeader(mapResponse, "x-resp", "2")
	removeHeader(mapResponse, "x-drop")
	say("headers", "request x-in=%s", header(mapRequest, "x-in"))
	return actionContinue
}

func mapHeaders() uint32 {
	var r returned
	data, size := r.outputs()
	if status := proxyGetHeaderMapPairs(mapRequest, data, size); status != 0 {
		say("map", "get %s", word(status))
		return actionContinue
	}
	var kept []pair
	for _, p := range parseMap(r.text()) {
		if strings.HasPrefix(p.name, "x-t-") {
			say("map", "%s=%s", p.name, p.value)
		}
		if !strings.HasPrefix(p.name, "x-t-drop") {
			kept = append(kept, p)
		}
	}
	text, textSize := bytesOf(serialize(append(kept, pair{"x-t-last", "1"})))
	say("map", "set %s", word(proxySetHeaderMapPairs(mapRequest, text, textSize)))
	return actionContinue
}

func pathRequest() uint32 {
	replaceHeader(mapRequest, ":path", "/other?x=1")
	replaceHeader(mapRequest, ":authority", "other.example")
	return actionContinue
}

func bodyHeaders(s *stream, kind uint32) uint32 {
	if s.behavior != "body-keep" {
		removeHeader(kind, "content-length")
	}
	return actionContinue
}

func setBuffer(s *stream, body, start, length uint32, value string) {
	text, size := bytesOf(value)
	say(s.behavior, "set %s", word(proxySetBufferBytes(body, start, length, text, size)))
}

func bodyChunk(s *stream, body, size uint32, end bool) uint32 {
	if !strings.HasPrefix(s.behavior, "body-") {
		return actionContinue
	}
	isAppended := s.behavior == "body-append" || s.behavior == "body-keep"
	if !end {
		if isAppended {
			return actionContinue
		}
		return actionPause
	}
	if isAppended {
		setBuffer(s, body, size, 0, "+end")
		return actionContinue
	}
	say(s.behavior, "%d bytes", size)
	switch s.behavior {
	case "body-prepend":
		setBuffer(s, body, 0, 0, "start+")
	case "body-replace":
		setBuffer(s, body, 0, size, "replaced")
	case "body-shrink":
		setBuffer(s, body, 0, size, buffer(body, 0, 4))
	case "body-clear":
		setBuffer(s, body, 0, size, "")
	case "body-peek":
		say(s.behavior, "0,3 %s", buffer(body, 0, 3))
		say(s.behavior, "2,100 %s", buffer(body, 2, 100))
		say(s.behavior, "end,1 %s", buffer(body, size, 1))
		say(s.behavior, "beyond,1 %s", buffer(body, size+1, 1))
		setBuffer(s, body, 0, 2, "XY!")
	}
	return actionContinue
}

func reply(s *stream, code uint32, text string, headers []pair, grpc int32) {
	details, detailsSize := bytesOf("guest")
	body, bodySize := bytesOf(text)
	pairs, pairsSize := bytesOf(serialize(headers))
	status := proxySendLocalResponse(code, details, detailsSize, body, bodySize, pairs, pairsSize, grpc)
	say(s.behavior, "reply %s", word(status))
}

var replyHeaders = []pair{{"x-reply", "1"}}

func replyRequest(s *stream) uint32 {
	if s.behavior == "local-reply-grpc" {
		reply(s, 403, "denied", replyHeaders, 7)
	} else {
		reply(s, 403, "no entry", replyHeaders, -1)
	}
	return actionPause
}

func replyBody(s *stream, end bool) uint32 {
	if end {
		reply(s, 413, "too much", replyHeaders, -1)
	}
	return actionPause
}

func replyResponse(s *stream) uint32 {
	code := header(mapResponse, ":status")
	say(s.behavior, "response %s", code)
	if s.behavior == "local-reply-response" && code == "200" {
		reply(s, 502, "changed", replyHeaders, -1)
		return actionPause
	}
	return actionContinue
}
