//! A Lua script that makes the same decisions as the filter, in the fastest way that was found: the
//! first segment of the path selects the route, and only headers that begin with `x-` are compared
//! with the reserved ones.

use std::fmt::Write as _;

use serde_json::{Value, json};
use sluice_filter::reserved_headers::RESERVED;
use sluice_test_kit::inputs;

use super::setup::{TIMEOUT_MS, segment};

/// The Lua filter.
pub(super) fn filter() -> Value {
    json!({
        "name": "lua",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua",
            "default_source_code": { "inline_string": script() },
        },
    })
}

fn script() -> String {
    let mut script = String::from("local timeouts = {\n");
    for route in 0..inputs::ROUTES {
        let _ = writeln!(script, "  [\"{}\"] = \"{TIMEOUT_MS}\",", segment(route));
    }
    let reserved: Vec<String> = RESERVED
        .iter()
        .map(|prefix| format!("name:sub(1, {}) == \"{prefix}\"", prefix.len()))
        .collect();
    let _ = write!(
        script,
        r#"}}
function envoy_on_request(handle)
  local headers = handle:headers()
  local reserved
  for name in pairs(headers) do
    if name:byte(1) == 120 and name:byte(2) == 45 and ({}) then
      reserved = reserved or {{}}
      reserved[#reserved + 1] = name
    end
  end
  for _, name in ipairs(reserved or {{}}) do
    headers:remove(name)
  end
  local timeout = timeouts[headers:get(":path"):match("^/([^/?]*)/")]
  if timeout then
    headers:replace("x-envoy-upstream-rq-timeout-ms", timeout)
  end
end
"#,
        reserved.join(" or ")
    );
    script
}
