//! One request and its response, as the guest sees them. The crate leaves the rules of access to the
//! embedder; these follow the text of the ABI.

use proxy_wasm_host::abi::v0_2_1::types::{BufferType, MapType, Status, StreamType};
use proxy_wasm_host::abi::v0_2_1::{Access, Callback, Invocation, LocalResponse, StreamState};
use proxy_wasm_host::{Buffer, HeaderMap, VecHeaderMap};
use serde_json::Value;

#[derive(Default)]
pub(crate) struct Exchange {
    pub(crate) request: VecHeaderMap,
    pub(crate) request_body: Vec<u8>,
    pub(crate) response: VecHeaderMap,
    pub(crate) response_body: Vec<u8>,
    /// The part of the exchange that runs or is paused.
    pub(crate) phase: Phase,
    /// Whether the guest has continued the paused part.
    pub(crate) is_continued: bool,
    /// The guest's own reply, if it sent one: status, headers, body.
    pub(crate) reply: Option<Reply>,
    /// Whether the guest replied before the request reached the upstream.
    pub(crate) is_answered: bool,
    pub(crate) properties: Vec<(Vec<u8>, Vec<u8>)>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Phase {
    #[default]
    RequestHeaders,
    RequestBody,
    ResponseHeaders,
    ResponseBody,
    Ended,
}

pub(crate) struct Reply {
    pub(crate) status: u32,
    pub(crate) headers: VecHeaderMap,
    pub(crate) body: Vec<u8>,
}

impl StreamState for Exchange {
    fn header_map(
        &mut self,
        call: Invocation,
        access: Access,
        map: MapType,
    ) -> Result<&mut dyn HeaderMap, Status> {
        let in_log = call.callback == Some(Callback::Log) && access == Access::Read;
        match map {
            MapType::HttpRequestHeaders if in_log || self.phase == Phase::RequestHeaders => {
                Ok(&mut self.request)
            }
            MapType::HttpResponseHeaders if in_log || self.phase == Phase::ResponseHeaders => {
                Ok(&mut self.response)
            }
            _ => Err(Status::BadArgument),
        }
    }

    fn buffer(
        &mut self,
        _: Invocation,
        _: Access,
        buffer: BufferType,
    ) -> Result<&mut dyn Buffer, Status> {
        match buffer {
            BufferType::HttpRequestBody if self.phase == Phase::RequestBody => {
                Ok(&mut self.request_body)
            }
            BufferType::HttpResponseBody if self.phase == Phase::ResponseBody => {
                Ok(&mut self.response_body)
            }
            _ => Err(Status::NotFound),
        }
    }

    fn continue_stream(&mut self, _: Invocation, _: StreamType) -> Result<(), Status> {
        self.is_continued = true;
        Ok(())
    }

    fn send_local_response(
        &mut self,
        _: Invocation,
        response: LocalResponse<'_>,
    ) -> Result<(), Status> {
        let response = response.into_owned();
        let headers = response.headers.into_iter();
        self.reply = Some(Reply {
            status: response.status_code,
            headers: headers.map(|(name, value)| (name.into_owned(), value.into_owned())).collect(),
            body: response.body.into_owned(),
        });
        Ok(())
    }

    fn property(&mut self, _: Invocation, path: &[&[u8]], out: &mut Vec<u8>) -> Result<(), Status> {
        let path = path.join(&b'.');
        let known = self.properties.iter().find(|(known, _)| *known == path);
        out.extend_from_slice(&known.ok_or(Status::NotFound)?.1);
        Ok(())
    }

    fn set_property(&mut self, _: Invocation, path: &[&[u8]], value: &[u8]) -> Result<(), Status> {
        self.properties.push((path.join(&b'.'), value.to_vec()));
        Ok(())
    }
}

/// Headers as a trace writes them: a list of names and values.
pub(crate) fn headers(list: &Value) -> Vec<(Vec<u8>, Vec<u8>)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().as_bytes().to_vec();
    let pairs = list.as_array().into_iter().flatten();
    pairs.map(|pair| (text(&pair[0]), text(&pair[1]))).collect()
}

/// The chunks of a body as a trace writes them.
pub(crate) fn chunks(list: &Value) -> Vec<Vec<u8>> {
    let chunks = list.as_array().into_iter().flatten();
    chunks.filter_map(|chunk| Some(chunk["text"].as_str()?.as_bytes().to_vec())).collect()
}
