;; A filter that adds the request header `x-seen: yes` and logs a line when the stream ends.
(module
  (import "env" "proxy_replace_header_map_value"
    (func $set_header (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "x-seenyesthe stream has ended")
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "proxy_on_memory_allocate") (param i32) (result i32) (i32.const 4096))
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
    (drop (call $set_header
      (i32.const 0)                  ;; the map: HTTP request headers
      (i32.const 0) (i32.const 6)    ;; the name
      (i32.const 6) (i32.const 3)))  ;; the value
    (i32.const 0))                   ;; the action: continue
  (func (export "proxy_on_log") (param i32)
    (drop (call $log (i32.const 2) (i32.const 9) (i32.const 20)))))
