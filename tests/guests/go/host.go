package main

import (
	"encoding/binary"
	"fmt"
	"strings"
	"unsafe"
)

// Helpers over the host calls: text values, logs and serialized header maps.

const (
	levelTrace = iota
	levelDebug
	levelInfo
	levelWarn
	levelError
	levelCritical
)

const (
	mapRequest     = 0
	mapResponse    = 2
	mapGRPCInitial = 4
	mapGRPCTrailer = 5
	mapCall        = 6

	bufferRequest       = 0
	bufferResponse      = 1
	bufferCall          = 4
	bufferGRPC          = 5
	bufferConfiguration = 7

	actionContinue = 0
	actionPause    = 1
)

var words = []string{
	"ok", "not found", "bad argument", "serialization failure", "parse failure", "bad expression",
	"invalid memory access", "empty", "cas mismatch", "result mismatch", "internal failure",
	"broken connection", "unimplemented",
}

// word returns the name of a status of the ABI.
func word(status uint32) string {
	if int(status) < len(words) {
		return words[status]
	}
	return "another status"
}

// bytesOf returns the address and the length of a value. The address of an empty value is zero.
func bytesOf(text string) (unsafe.Pointer, uint32) {
	return unsafe.Pointer(unsafe.StringData(text)), uint32(len(text))
}

// sayAt logs "BEHAVIOR: TEXT" at a level.
func sayAt(level uint32, behavior, format string, arguments ...any) {
	text, size := bytesOf(behavior + ": " + fmt.Sprintf(format, arguments...))
	proxyLog(level, text, size)
}

func say(behavior, format string, arguments ...any) {
	sayAt(levelInfo, behavior, format, arguments...)
}

// allocated keeps the memory that the host asked for until the guest has copied it.
var allocated = map[uint32][]byte{}

//go:wasmexport proxy_on_memory_allocate
func onMemoryAllocate(size uint32) unsafe.Pointer {
	data := make([]byte, size+1)
	address := unsafe.Pointer(&data[0])
	allocated[uint32(uintptr(address))] = data
	return address
}

// returned is a pair of output parameters for bytes that the host allocates.
type returned struct {
	data uint32
	size uint32
}

func (r *returned) outputs() (unsafe.Pointer, unsafe.Pointer) {
	return unsafe.Pointer(&r.data), unsafe.Pointer(&r.size)
}

// text copies the bytes and releases them.
func (r *returned) text() string {
	data := allocated[r.data]
	delete(allocated, r.data)
	if int(r.size) > len(data) {
		return ""
	}
	return string(data[:r.size])
}

// valueOr returns the text, or the name of the status.
func (r *returned) valueOr(status uint32) string {
	if status != 0 {
		return word(status)
	}
	return r.text()
}

func lookUp(kind uint32, name string) (string, uint32) {
	var r returned
	data, size := r.outputs()
	text, textSize := bytesOf(name)
	status := proxyGetHeaderMapValue(kind, text, textSize, data, size)
	return r.valueOr(status), status
}

func header(kind uint32, name string) string {
	value, _ := lookUp(kind, name)
	return value
}

func buffer(kind, start, length uint32) string {
	var r returned
	data, size := r.outputs()
	status := proxyGetBufferBytes(kind, start, length, data, size)
	return r.valueOr(status)
}

func getProperty(path string) (string, uint32) {
	var r returned
	data, size := r.outputs()
	text, textSize := bytesOf(strings.ReplaceAll(path, ".", "\x00"))
	status := proxyGetProperty(text, textSize, data, size)
	return r.valueOr(status), status
}

func addHeader(kind uint32, name, value string) uint32 {
	n, nSize := bytesOf(name)
	v, vSize := bytesOf(value)
	return proxyAddHeaderMapValue(kind, n, nSize, v, vSize)
}

func replaceHeader(kind uint32, name, value string) uint32 {
	n, nSize := bytesOf(name)
	v, vSize := bytesOf(value)
	return proxyReplaceHeaderMapValue(kind, n, nSize, v, vSize)
}

func removeHeader(kind uint32, name string) uint32 {
	n, nSize := bytesOf(name)
	return proxyRemoveHeaderMapValue(kind, n, nSize)
}

type pair struct{ name, value string }

// serialize writes the number of pairs, the lengths of each, and then each name and value with a
// zero byte.
func serialize(pairs []pair) string {
	out := binary.LittleEndian.AppendUint32(nil, uint32(len(pairs)))
	for _, p := range pairs {
		out = binary.LittleEndian.AppendUint32(out, uint32(len(p.name)))
		out = binary.LittleEndian.AppendUint32(out, uint32(len(p.value)))
	}
	for _, p := range pairs {
		out = append(append(out, p.name...), 0)
		out = append(append(out, p.value...), 0)
	}
	return string(out)
}

func parseMap(text string) []pair {
	data := []byte(text)
	if len(data) < 4 {
		return nil
	}
	pairs := make([]pair, binary.LittleEndian.Uint32(data))
	next := 4 + 8*len(pairs)
	for i := range pairs {
		nameSize := int(binary.LittleEndian.Uint32(data[4+8*i:]))
		valueSize := int(binary.LittleEndian.Uint32(data[8+8*i:]))
		pairs[i].name = text[next : next+nameSize]
		next += nameSize + 1
		pairs[i].value = text[next : next+valueSize]
		next += valueSize + 1
	}
	return pairs
}
