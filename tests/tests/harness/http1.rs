//! The reader of HTTP/1.1 and its decoder.

use std::io::{ErrorKind, Read};

use sluice_tests::http1::Reader;
use sluice_tests::http1::message::{Framing, Headers};

const MESSAGES: &str = concat!(
    "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n",
    "HTTP/1.1 200 OK\r\nServer:  envoy \r\nContent-Length: 5\r\n\r\nhello",
    "POST /upload?a=b HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n",
    "3;name=value\r\nabc\r\n2\r\nde\r\n0\r\nx-checksum: 1\r\n\r\n",
    "HTTP/1.0 204 No Content\r\n\r\n",
    "HTTP/1.1 200 \r\n\r\nuntil the close",
);

/// A connection whose reads return this many bytes each.
struct Parts<'a>(&'a [u8], usize);

impl Read for Parts<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = self.1.min(self.0.len()).min(buffer.len());
        buffer[..length].copy_from_slice(&self.0[..length]);
        self.0 = &self.0[length..];
        Ok(length)
    }
}

fn reader(bytes: &str, part: usize) -> Reader<Parts<'_>> {
    Reader::new(Parts(bytes.as_bytes(), part))
}

fn headers(reader: &mut Reader<Parts<'_>>) -> Headers {
    reader.headers().expect("well-formed headers").expect("headers before the close")
}

#[test]
fn messages_are_read_from_parts_of_any_size() {
    for part in 1..=MESSAGES.len() {
        let mut reader = reader(MESSAGES, part);
        let hints = headers(&mut reader);
        assert_eq!((hints.status(), hints.get("link")), (Some(103), Some("</a>")), "{part}");

        let response = headers(&mut reader);
        assert_eq!(response.start_line, "HTTP/1.1 200 OK", "{part}");
        assert_eq!(response.get("server"), Some("envoy"), "{part}");
        assert_eq!(Framing::of(&response), Some(Framing::Length(5)), "{part}");
        let body = reader.body(Framing::Length(5)).expect("a body");
        assert_eq!((&body.bytes[..], body.complete), (&b"hello"[..], true), "{part}");
        let arrived: usize = body.arrivals.iter().map(|(_, length)| length).sum();
        assert_eq!(arrived, 5, "{part}");

        let request = headers(&mut reader);
        assert_eq!(request.start_line, "POST /upload?a=b HTTP/1.1", "{part}");
        assert_eq!(Framing::of(&request), Some(Framing::Chunked), "{part}");
        let body = reader.body(Framing::Chunked).expect("a body");
        assert_eq!((&body.bytes[..], body.complete), (&b"abcde"[..], true), "{part}");
        assert_eq!(body.chunks, [3, 2], "{part}");

        let empty = headers(&mut reader);
        assert_eq!((empty.status(), Framing::of(&empty)), (Some(204), None), "{part}");

        assert_eq!(headers(&mut reader).status(), Some(200), "{part}");
        let body = reader.body(Framing::UntilClose).expect("a body");
        assert_eq!((&body.bytes[..], body.complete), (&b"until the close"[..], true), "{part}");
        assert!(reader.headers().expect("a close").is_none(), "{part}");
        assert!(reader.is_closed().expect("a close"), "{part}");
    }
}

#[test]
fn close_within_a_message_is_detected() {
    let torn = "HTTP/1.1 200 OK\r\nx-half: ";
    assert_eq!(reader(torn, 7).headers().unwrap_err().kind(), ErrorKind::UnexpectedEof);
    let complete = "3\r\nabc\r\n0\r\n\r\n";
    for length in 0..complete.len() {
        let body = reader(&complete[..length], 4).body(Framing::Chunked).expect("a torn body");
        assert!(!body.complete && b"abc".starts_with(&body.bytes), "{length}: {body:?}");
    }
    let body = reader("abc", 2).body(Framing::Length(4)).expect("a torn body");
    assert_eq!((&body.bytes[..], body.complete), (&b"abc"[..], false));
}

#[test]
fn malformed_messages_are_errors() {
    for text in
        ["ICY 200 OK\r\n\r\n", "HTTP/1.1 2xx OK\r\n\r\n", "GET / HTTP/1.1\r\na b: c\r\n\r\n"]
    {
        assert_eq!(reader(text, 5).headers().unwrap_err().kind(), ErrorKind::InvalidData, "{text}");
    }
    for text in ["xyz\r\n", "2\r\nabcd\r\n", "-1\r\n"] {
        let error = reader(text, 5).body(Framing::Chunked).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData, "{text}");
    }
}
