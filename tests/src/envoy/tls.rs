//! TLS for the clients that speak HTTP/2 only over TLS, such as browsers. The certificate signs
//! itself, and its key is public: both are for tests only.

use serde_json::{Value, json};

/// Envoy's configuration of a listener that speaks HTTP/2 and HTTP/1.1 over TLS.
pub(super) fn transport_socket() -> Value {
    let certificate = json!({
        "certificate_chain": { "inline_string": include_str!("tls/certificate.pem") },
        "private_key": { "inline_string": include_str!("tls/key.pem") },
    });
    json!({ "name": "tls", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "common_tls_context": {
            "alpn_protocols": ["h2", "http/1.1"], "tls_certificates": [certificate] } } })
}
