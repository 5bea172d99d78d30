"""A client of grpc.health.v1.Health: prints each state, and the gRPC status of a call that fails.

The messages are two bytes, so that the client needs no code generated from their definition.
"""

import sys

try:
    import grpc
except ImportError:
    sys.exit("no Python module grpc: run `cargo xtask test`, or install the package python3-grpcio")

STATES = {b"\x08\x01": "SERVING", b"\x08\x02": "NOT_SERVING"}
TIMEOUT_SECONDS = 20


def unchanged(message):
    return message


method, address = sys.argv[1:]
channel = grpc.insecure_channel(address)
if method == "check":
    call = channel.unary_unary("/grpc.health.v1.Health/Check", unchanged, unchanged)
else:
    call = channel.unary_stream("/grpc.health.v1.Health/Watch", unchanged, unchanged)
try:
    result = call(b"", timeout=TIMEOUT_SECONDS)
    for message in [result] if method == "check" else result:
        print(STATES[message], flush=True)
    if method == "watch":
        print(result.code().name)
except grpc.RpcError as error:
    print(error.code().name)
