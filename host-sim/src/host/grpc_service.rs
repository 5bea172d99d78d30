//! The upstream of a gRPC call, as Envoy reads it: a serialized
//! `envoy.config.core.v3.GrpcService` message. Bytes that are not such a message name a cluster.
//!
//! Only `envoy_grpc.cluster_name` and `google_grpc.target_uri` are read. Both are the first field
//! of the message in field 1 or 2. Other well-formed fields are skipped.

/// Reads the upstream's name. Returns `None` if the bytes are not valid protobuf, and `Some(None)`
/// if the message has no target.
#[expect(clippy::option_option, reason = "two kinds of absence")]
pub(super) fn upstream(service: &[u8]) -> Option<Option<String>> {
    let mut name = None;
    for (number, value) in fields(service)? {
        if let (1 | 2, Some(target)) = (number, value) {
            name = Some(String::new());
            for (number, value) in fields(target)? {
                if let (1, Some(text)) = (number, value) {
                    name = Some(String::from_utf8_lossy(text).into_owned());
                }
            }
        }
    }
    Some(name)
}

/// The number of a field and, if the field is length-delimited, its bytes.
type Field<'a> = (u64, Option<&'a [u8]>);

fn fields(mut message: &[u8]) -> Option<Vec<Field<'_>>> {
    let mut fields = Vec::new();
    while !message.is_empty() {
        let key = varint(&mut message)?;
        let (number, wire_type) = (key >> 3, key & 7);
        if number == 0 {
            return None;
        }
        let value = match wire_type {
            0 => {
                varint(&mut message)?;
                None
            }
            1 => {
                take(&mut message, 8)?;
                None
            }
            2 => {
                let len = varint(&mut message)?;
                Some(take(&mut message, usize::try_from(len).ok()?)?)
            }
            5 => {
                take(&mut message, 4)?;
                None
            }
            _ => return None,
        };
        fields.push((number, value));
    }
    Some(fields)
}

fn take<'a>(message: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (taken, rest) = message.split_at_checked(len)?;
    *message = rest;
    Some(taken)
}

fn varint(message: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(message, 1)?[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}
