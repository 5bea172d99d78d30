//! Values with names that are known: an error lists them.

/// Finds a value by its name; the error lists the known names.
pub(super) fn by_name<T: Copy>(
    name: &str,
    (kind, kinds): (&str, &str),
    known: &[T],
    name_of: fn(T) -> &'static str,
) -> Result<T, String> {
    known.iter().copied().find(|value| name_of(*value) == name).ok_or_else(|| {
        let known: Vec<&str> = known.iter().map(|value| name_of(*value)).collect();
        format!("unknown {kind} {name:?}; known {kinds}: {}", known.join(", "))
    })
}
