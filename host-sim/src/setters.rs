//! Builder methods for structs that will get more fields.
//!
//! Such structs are `#[non_exhaustive]`, so other crates cannot write them as literals. They start
//! from `default()` and chain these methods instead.

/// Implements `fn with_field(mut self, field: Type) -> Self` for each listed field. `Type` can be
/// any type that converts into the type of the field.
macro_rules! setters {
    ($owner:ty { $($method:ident($field:ident: $type:ty),)* }) => {
        impl $owner {$(
            #[doc = concat!(
                "Returns the value with [`", stringify!($field), "`](Self::", stringify!($field),
                ") replaced."
            )]
            #[must_use]
            pub fn $method(mut self, $field: $type) -> Self {
                self.$field = $field.into();
                self
            }
        )*}
    };
}

pub(crate) use setters;
