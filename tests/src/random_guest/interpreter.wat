;; A guest that executes lists of host calls. `interpreter.rs` adds the imports, their types and the
;; table, and describes the program that the plugin configuration contains.
(module
  ;;IMPORTS
  ;;TYPES
  (memory (export "memory") 256)
  ;;TABLE

  ;; 0x100    results of the current call: pointer and length of a value, then numbers
  ;; 0x200    names of headers
  ;; 0x10000  the log line
  ;; 0x30000  case by context: 4096 entries of context and case
  ;; 0x40000  state by case: context, whether it is alive, whether a chunk of the request and of the
  ;;          response has arrived, whether request and response are paused
  ;; 0x80000  case by call token: 256 entries of token and case
  ;; 0x100000 memory for the host's results, used as a ring
  ;; 0x800000 the program
  (data (i32.const 0x200) "x-case")
  (data (i32.const 0x210) "x-poke")
  (data (i32.const 0x220) "guest# ")

  (global $heap (mut i32) (i32.const 0x100000))
  (global $line (mut i32) (i32.const 0x10000))
  (global $op (mut i32) (i32.const 0))
  (global $root (mut i32) (i32.const 0))
  (global $stream (mut i32) (i32.const 0))
  (global $token (mut i32) (i32.const 0))
  (global $tokens (mut i32) (i32.const 0))

  (func (export "proxy_abi_version_0_2_1"))

  (func (export "proxy_on_memory_allocate") (param $size i32) (result i32)
    (local $at i32)
    (if (i32.gt_u (i32.add (global.get $heap) (local.get $size)) (i32.const 0x7ffff0))
      (then (global.set $heap (i32.const 0x100000))))
    (local.set $at (global.get $heap))
    (global.set $heap (i32.and (i32.add (i32.add (local.get $at) (local.get $size)) (i32.const 15))
                               (i32.const -8)))
    (local.get $at))

  ;; The log line.
  (func $byte (param $value i32)
    (if (i32.lt_u (global.get $line) (i32.const 0x18000))
      (then
        (i32.store8 (global.get $line) (local.get $value))
        (global.set $line (i32.add (global.get $line) (i32.const 1))))))

  (func $number (param $value i32)
    (if (i32.ge_u (local.get $value) (i32.const 10))
      (then (call $number (i32.div_u (local.get $value) (i32.const 10)))))
    (call $byte (i32.add (i32.const 48) (i32.rem_u (local.get $value) (i32.const 10)))))

  (func $digit (param $value i32)
    (call $byte (i32.add (local.get $value)
      (select (i32.const 48) (i32.const 87) (i32.lt_u (local.get $value) (i32.const 10))))))

  (func $hex (param $value i32)
    (call $digit (i32.shr_u (local.get $value) (i32.const 4)))
    (call $digit (i32.and (local.get $value) (i32.const 15))))

  ;; Bytes as text; a backslash and two digits for bytes that are not printable.
  (func $escaped (param $at i32) (param $size i32)
    (local $value i32)
    (block $end
      (loop $next
        (br_if $end (i32.eqz (local.get $size)))
        (local.set $value (i32.load8_u (local.get $at)))
        (if (i32.or (i32.ge_u (i32.sub (local.get $value) (i32.const 32)) (i32.const 95))
                    (i32.eq (local.get $value) (i32.const 92)))
          (then (call $byte (i32.const 92)) (call $hex (local.get $value)))
          (else (call $byte (local.get $value))))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (local.set $size (i32.sub (local.get $size) (i32.const 1)))
        (br $next))))

  (func $begin (param $case i32) (param $section i32)
    (global.set $line (i32.const 0x10000))
    (call $escaped (i32.const 0x220) (i32.const 7))
    (call $number (local.get $case))
    (call $byte (i32.const 32))
    (call $number (local.get $section)))

  (func $space_number (param $value i32)
    (call $byte (i32.const 32))
    (call $number (local.get $value)))

  (func $flush
    (drop (call $log (i32.const 3) (i32.const 0x10000)
                           (i32.sub (global.get $line) (i32.const 0x10000)))))

  ;; Programs.
  (func $arg (param $index i32) (result i32)
    (local $at i32) (local $kind i32)
    (local.set $at (i32.add (global.get $op)
                            (i32.add (i32.const 12) (i32.shl (local.get $index) (i32.const 3)))))
    (local.set $kind (i32.load (local.get $at)))
    (if (i32.eq (local.get $kind) (i32.const 1)) (then (return (global.get $stream))))
    (if (i32.eq (local.get $kind) (i32.const 2)) (then (return (global.get $root))))
    (if (i32.eq (local.get $kind) (i32.const 3)) (then (return (global.get $token))))
    (i32.load offset=4 (local.get $at)))

  (func $call (result i32)
    (local $function i32) (local $count i32)
    (local.set $function (i32.load (global.get $op)))
    (local.set $count (i32.load offset=4 (global.get $op)))
    ;;DISPATCH
    (unreachable))

  (func $state (param $case i32) (result i32)
    (i32.add (i32.const 0x40000) (i32.shl (local.get $case) (i32.const 5))))

  (func $run (param $case i32) (param $section i32) (param $a i32) (param $b i32) (param $default i32)
             (result i32)
    (local $at i32) (local $left i32) (local $action i32) (local $index i32) (local $status i32)
    (local $flags i32) (local $here i32)
    (call $begin (local.get $case) (local.get $section))
    (call $space_number (local.get $a))
    (call $space_number (local.get $b))
    (call $flush)
    (local.set $at (i32.load (i32.add (i32.const 0x800000) (i32.shl (local.get $case) (i32.const 2)))))
    (local.set $at (i32.load (i32.add (local.get $at) (i32.shl (local.get $section) (i32.const 2)))))
    (if (i32.eqz (local.get $at))
      (then
        (local.set $here (call $state (local.get $case)))
        (if (i32.lt_u (local.get $section) (i32.const 4))
          (then (i32.store offset=16 (local.get $here) (i32.const 0)))
          (else
            (if (i32.lt_u (local.get $section) (i32.const 8))
              (then (i32.store offset=20 (local.get $here) (i32.const 0))))))
        (return (local.get $default))))
    (global.set $stream (i32.load (call $state (local.get $case))))
    (local.set $left (i32.load (local.get $at)))
    (local.set $action (i32.load offset=4 (local.get $at)))
    (local.set $at (i32.add (local.get $at) (i32.const 8)))
    (block $end
      (loop $next
        (br_if $end (i32.eqz (local.get $left)))
        (memory.fill (i32.const 0x100) (i32.const 0xaa) (i32.const 64))
        (global.set $op (local.get $at))
        (local.set $status (i32.const 98))
        (if (call $may_call (call $state (local.get $case)) (local.get $section))
          (then (local.set $status (call $call))))
        (local.set $flags (i32.load offset=8 (local.get $at)))
        (call $begin (local.get $case) (local.get $section))
        (call $byte (i32.const 46))
        (call $number (local.get $index))
        (call $space_number (i32.load (local.get $at)))
        (call $space_number (local.get $status))
        (if (i32.eqz (local.get $status))
          (then
            (if (i32.and (local.get $flags) (i32.const 1))
              (then (call $space_number (i32.load (i32.const 0x104)))
                    (call $byte (i32.const 32))
                    (call $escaped (i32.load (i32.const 0x100))
                      (select (i32.const 3000) (i32.load (i32.const 0x104))
                              (i32.gt_u (i32.load (i32.const 0x104)) (i32.const 3000))))))
            (if (i32.and (local.get $flags) (i32.const 2))
              (then (call $byte (i32.const 32))
                    (local.set $here (i32.const 0x108))
                    (loop $more
                      (call $hex (i32.load8_u (local.get $here)))
                      (local.set $here (i32.add (local.get $here) (i32.const 1)))
                      (br_if $more (i32.lt_u (local.get $here) (i32.const 0x118))))))
            (if (i32.and (local.get $flags) (i32.const 12))
              (then (global.set $token (i32.load (i32.const 0x108)))))
            (if (i32.and (local.get $flags) (i32.const 8))
              (then
                (local.set $here (i32.add (i32.const 0x80000)
                  (i32.shl (i32.and (global.get $tokens) (i32.const 255)) (i32.const 3))))
                (i32.store (local.get $here) (global.get $token))
                (i32.store offset=4 (local.get $here) (i32.add (local.get $case) (i32.const 1)))
                (global.set $tokens (i32.add (global.get $tokens) (i32.const 1)))))))
        (call $flush)
        (local.set $at (i32.add (local.get $at)
          (i32.add (i32.const 12) (i32.shl (i32.load offset=4 (local.get $at)) (i32.const 3)))))
        (local.set $index (i32.add (local.get $index) (i32.const 1)))
        (local.set $left (i32.sub (local.get $left) (i32.const 1)))
        (br $next)))
    (local.set $here (call $state (local.get $case)))
    (if (i32.lt_u (local.get $section) (i32.const 4))
      (then (i32.store offset=16 (local.get $here) (local.get $action)))
      (else
        (if (i32.lt_u (local.get $section) (i32.const 8))
          (then (i32.store offset=20 (local.get $here) (local.get $action))))))
    (local.get $action))

  ;; Whether Envoy survives the call: it crashes if a stream continues that is not paused, or in its
  ;; own callback.
  (func $may_call (param $state i32) (param $section i32) (result i32)
    (local $kind i32) (local $paused i32)
    (if (i32.ne (i32.load (global.get $op)) (i32.const CONTINUE_STREAM)) (then (return (i32.const 1))))
    (local.set $kind (call $arg (i32.const 0)))
    (if (i32.gt_u (local.get $kind) (i32.const 1)) (then (return (i32.const 1))))
    (if (i32.lt_u (local.get $section) (i32.const 8)) (then (return (i32.const 0))))
    (local.set $state (i32.add (local.get $state) (i32.shl (local.get $kind) (i32.const 2))))
    (local.set $paused (i32.load offset=16 (local.get $state)))
    (i32.store offset=16 (local.get $state) (i32.const 0))
    (local.get $paused))

  ;; The value of a request header as a number; -1 if it is missing.
  (func $header_number (param $name i32) (result i32)
    (local $at i32) (local $end i32) (local $value i32)
    (if (call $get_header_map_value (i32.const 0) (local.get $name) (i32.const 6)
                                          (i32.const 0x100) (i32.const 0x104))
      (then (return (i32.const -1))))
    (local.set $at (i32.load (i32.const 0x100)))
    (local.set $end (i32.add (local.get $at) (i32.load (i32.const 0x104))))
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $at) (local.get $end)))
        (local.set $value (i32.add (i32.mul (local.get $value) (i32.const 10))
          (i32.sub (i32.load8_u (local.get $at)) (i32.const 48))))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br $next)))
    (local.get $value))

  (func $case_of (param $context i32) (result i32)
    (local $at i32)
    (local.set $at (i32.add (i32.const 0x30000)
      (i32.shl (i32.and (local.get $context) (i32.const 4095)) (i32.const 3))))
    (select (i32.load offset=4 (local.get $at)) (i32.const -1)
            (i32.eq (i32.load (local.get $at)) (local.get $context))))

  (func $case_of_token (param $token i32) (result i32)
    (local $at i32)
    (local.set $at (i32.const 0x80000))
    (loop $next
      (if (i32.and (i32.eq (i32.load (local.get $at)) (local.get $token))
                   (i32.ne (i32.load offset=4 (local.get $at)) (i32.const 0)))
        (then (return (i32.sub (i32.load offset=4 (local.get $at)) (i32.const 1)))))
      (local.set $at (i32.add (local.get $at) (i32.const 8)))
      (br_if $next (i32.lt_u (local.get $at) (i32.const 0x80800))))
    (i32.const -1))

  (func $nibble (param $digit i32) (result i32)
    (i32.sub (local.get $digit)
      (select (i32.const 48) (i32.const 87) (i32.lt_u (local.get $digit) (i32.const 58)))))

  ;; Callbacks.
  (func (export "proxy_on_vm_start") (param i32 i32) (result i32) (i32.const 1))

  (func (export "proxy_on_configure") (param $context i32) (param $size i32) (result i32)
    (local $at i32) (local $end i32) (local $to i32)
    (global.set $root (local.get $context))
    (if (call $get_buffer_bytes (i32.const 7) (i32.const 0) (local.get $size)
                                      (i32.const 0x100) (i32.const 0x104))
      (then (return (i32.const 0))))
    (local.set $at (i32.load (i32.const 0x100)))
    (local.set $end (i32.add (local.get $at) (i32.load (i32.const 0x104))))
    (local.set $to (i32.const 0x800000))
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $at) (local.get $end)))
        (i32.store8 (local.get $to)
          (i32.or (i32.shl (call $nibble (i32.load8_u (local.get $at))) (i32.const 4))
                  (call $nibble (i32.load8_u offset=1 (local.get $at)))))
        (local.set $at (i32.add (local.get $at) (i32.const 2)))
        (local.set $to (i32.add (local.get $to) (i32.const 1)))
        (br $next)))
    (i32.const 1))

  (func (export "proxy_on_request_headers") (param $context i32) (param $count i32) (param $end i32)
                                            (result i32)
    (local $case i32) (local $poke i32) (local $at i32)
    (local.set $case (call $header_number (i32.const 0x200)))
    (if (i32.eq (local.get $case) (i32.const -1)) (then (return (i32.const 0))))
    (local.set $poke (call $header_number (i32.const 0x210)))
    (if (i32.ne (local.get $poke) (i32.const -1))
      (then
        (if (i32.load offset=4 (call $state (local.get $case)))
          (then
            (drop (call $set_effective_context (i32.load (call $state (local.get $case)))))
            (drop (call $run (local.get $case) (i32.add (i32.const 12) (local.get $poke))
                                 (i32.const 0) (i32.const 0) (i32.const 0)))))
        (drop (call $set_effective_context (local.get $context)))
        (drop (call $send_local_response (i32.const 204) (i32.const 0) (i32.const 0)
          (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const -1)))
        (return (i32.const 1))))
    (local.set $at (i32.add (i32.const 0x30000)
      (i32.shl (i32.and (local.get $context) (i32.const 4095)) (i32.const 3))))
    (i32.store (local.get $at) (local.get $context))
    (i32.store offset=4 (local.get $at) (local.get $case))
    (global.set $token (i32.const 99999999))
    (local.set $at (call $state (local.get $case)))
    (i32.store (local.get $at) (local.get $context))
    (i32.store offset=4 (local.get $at) (i32.const 1))
    (i32.store offset=8 (local.get $at) (i32.const 0))
    (i32.store offset=12 (local.get $at) (i32.const 0))
    (i32.store offset=16 (local.get $at) (i32.const 0))
    (i32.store offset=20 (local.get $at) (i32.const 0))
    (call $run (local.get $case) (i32.const 0) (local.get $count) (local.get $end) (i32.const 0)))

  ;; A callback with two numbers.
  (func $event (param $context i32) (param $section i32) (param $a i32) (param $b i32)
               (param $default i32) (result i32)
    (local $case i32)
    (local.set $case (call $case_of (local.get $context)))
    (if (i32.eq (local.get $case) (i32.const -1)) (then (return (local.get $default))))
    (call $run (local.get $case) (local.get $section) (local.get $a) (local.get $b)
               (local.get $default)))

  ;; A body callback; the second section is for all chunks after the first.
  (func $chunk (param $context i32) (param $section i32) (param $field i32) (param $size i32)
               (param $end i32) (result i32)
    (local $case i32) (local $at i32)
    (local.set $case (call $case_of (local.get $context)))
    (if (i32.eq (local.get $case) (i32.const -1)) (then (return (i32.const 0))))
    (local.set $at (i32.add (call $state (local.get $case)) (local.get $field)))
    (if (i32.load (local.get $at))
      (then (local.set $section (i32.add (local.get $section) (i32.const 1)))))
    (i32.store (local.get $at) (i32.const 1))
    (call $run (local.get $case) (local.get $section) (local.get $size) (local.get $end)
               (i32.const 0)))

  (func (export "proxy_on_request_body") (param i32 i32 i32) (result i32)
    (call $chunk (local.get 0) (i32.const 1) (i32.const 8) (local.get 1) (local.get 2)))
  (func (export "proxy_on_request_trailers") (param i32 i32) (result i32)
    (call $event (local.get 0) (i32.const 3) (local.get 1) (i32.const 0) (i32.const 0)))
  (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
    (call $event (local.get 0) (i32.const 4) (local.get 1) (local.get 2) (i32.const 0)))
  (func (export "proxy_on_response_body") (param i32 i32 i32) (result i32)
    (call $chunk (local.get 0) (i32.const 5) (i32.const 12) (local.get 1) (local.get 2)))
  (func (export "proxy_on_response_trailers") (param i32 i32) (result i32)
    (call $event (local.get 0) (i32.const 7) (local.get 1) (i32.const 0) (i32.const 0)))

  ;; A callback for a call of the guest.
  (func $call_event (param $token i32) (param $section i32) (param $a i32) (param $b i32)
    (local $case i32)
    (local.set $case (call $case_of_token (local.get $token)))
    (if (i32.eq (local.get $case) (i32.const -1)) (then (return)))
    (global.set $token (local.get $token))
    (drop (call $run (local.get $case) (local.get $section) (local.get $a) (local.get $b)
                     (i32.const 0))))

  (func (export "proxy_on_http_call_response") (param i32 i32 i32 i32 i32)
    (call $call_event (local.get 1) (i32.const 8) (local.get 2)
      (i32.add (i32.mul (local.get 3) (i32.const 100)) (local.get 4))))
  (func (export "proxy_on_grpc_receive_initial_metadata") (param i32 i32 i32)
    (call $call_event (local.get 1) (i32.const 9) (local.get 2) (i32.const 0)))
  (func (export "proxy_on_grpc_receive") (param i32 i32 i32)
    (call $call_event (local.get 1) (i32.const 10) (local.get 2) (i32.const 0)))
  (func (export "proxy_on_grpc_receive_trailing_metadata") (param i32 i32 i32)
    (call $call_event (local.get 1) (i32.const 11) (local.get 2) (i32.const 0)))
  (func (export "proxy_on_grpc_close") (param i32 i32 i32)
    (call $call_event (local.get 1) (i32.const 12) (local.get 2) (i32.const 0)))

  (func (export "proxy_on_log") (param i32)
    (drop (call $event (local.get 0) (i32.const 15) (i32.const 0) (i32.const 0) (i32.const 0))))
  (func (export "proxy_on_done") (param i32) (result i32)
    (call $event (local.get 0) (i32.const 16) (i32.const 0) (i32.const 0) (i32.const 1)))
  (func (export "proxy_on_delete") (param i32)
    (local $case i32)
    (drop (call $event (local.get 0) (i32.const 17) (i32.const 0) (i32.const 0) (i32.const 0)))
    (local.set $case (call $case_of (local.get 0)))
    (if (i32.ne (local.get $case) (i32.const -1))
      (then (i32.store offset=4 (call $state (local.get $case)) (i32.const 0)))))
)
