//! Bytes in a trace: text, or an object with hexadecimal digits.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

/// Bytes: `"text"` or `{"hex":"0aff"}`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Data<'a>(pub Cow<'a, [u8]>);

impl<'de: 'a, 'a> Deserialize<'de> for Data<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct DataVisitor;
        impl<'de> Visitor<'de> for DataVisitor {
            type Value = Data<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(r#"text, or bytes such as {"hex":"0aff"}"#)
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Data(Cow::Borrowed(text.as_bytes())))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Data(Cow::Owned(text.as_bytes().to_vec())))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut bytes = None;
                while let Some(key) = map.next_key::<Cow<'_, str>>()? {
                    if key != "hex" || bytes.is_some() {
                        return Err(A::Error::custom(r#"expected one field, "hex""#));
                    }
                    let digits = map.next_value::<Cow<'_, str>>()?;
                    let parsed = parse_hex(&digits).ok_or_else(|| {
                        A::Error::custom(format!(
                            "{digits:?} is not hexadecimal; write two digits for each byte, such as \"0aff\""
                        ))
                    })?;
                    bytes = Some(parsed);
                }
                let bytes = bytes.ok_or_else(|| A::Error::missing_field("hex"))?;
                Ok(Data(Cow::Owned(bytes)))
            }
        }
        deserializer.deserialize_any(DataVisitor)
    }
}

fn parse_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |b: u8| char::from(b).to_digit(16).map(|digit| digit as u8);
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| Some(digit(pair[0])? << 4 | digit(*pair.get(1)?)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_text_or_hexadecimal() {
        let read = |text| serde_json::from_str::<Data<'_>>(text).map(|data| data.0.into_owned());
        assert_eq!(read(r#""a\n""#).unwrap(), b"a\n");
        assert_eq!(read(r#"{"hex":"0aFF"}"#).unwrap(), [10, 255]);
        for wrong in [r#"{"hex":"0a0"}"#, r#"{"hex":"zz"}"#, "{}", r#"{"text":"a"}"#, "1"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
