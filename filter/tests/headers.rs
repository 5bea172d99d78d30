//! Header fields in the buffer that a host delivers: every buffer can be read, and the fields of a
//! valid one are those that were written.

use proptest::prelude::*;
use sluice_filter::Headers;

fn fields() -> impl Strategy<Value = Vec<(Vec<u8>, Vec<u8>)>> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..20);
    prop::collection::vec((bytes(), bytes()), 0..12)
}

fn read(headers: &Headers) -> Vec<(Vec<u8>, Vec<u8>)> {
    headers.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect()
}

proptest! {
    #[test]
    fn written_fields_are_read_in_their_order(fields in fields()) {
        let headers: Headers = fields.iter().cloned().collect();
        prop_assert_eq!(read(&headers), fields);
    }

    #[test]
    fn a_cut_or_changed_buffer_ends_early(
        fields in fields(),
        length in any::<prop::sample::Index>(),
        change in any::<(prop::sample::Index, u8)>(),
    ) {
        let written: Headers = fields.iter().cloned().collect();
        let mut cut = written.clone();
        cut.buffer_mut().truncate(length.index(written.as_bytes().len()));
        let whole = read(&cut);
        prop_assert!(whole.len() <= fields.len() && fields.starts_with(&whole));
        let mut changed = written;
        let place = change.0.index(changed.as_bytes().len());
        changed.buffer_mut()[place] = change.1;
        read(&changed);
    }
}

#[test]
fn an_empty_buffer_has_no_fields() {
    assert_eq!(Headers::default().iter().count(), 0);
    let mut headers = Headers::default();
    headers.buffer_mut().extend([u8::MAX; 64]);
    assert_eq!(headers.iter().count(), 0, "more fields than the buffer can have");
}
