//! Ranges of client addresses.

use std::net::IpAddr;

/// A range of addresses, such as `10.0.0.0/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressRange {
    first: IpAddr,
    bits: u8,
}

impl AddressRange {
    /// Parses a range; an address alone is a range of one.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (first, bits) = match text.split_once('/') {
            Some((first, bits)) => (first.parse().ok()?, Some(bits.parse().ok()?)),
            None => (text.parse().ok()?, None),
        };
        let most = match first {
            IpAddr::V4(_) => 32,
            IpAddr::V6(_) => 128,
        };
        let bits = bits.unwrap_or(most);
        (bits <= most).then_some(Self { first, bits })
    }

    /// An address of the range.
    pub fn first(self) -> IpAddr {
        self.first
    }

    /// The number of leading bits that all addresses share.
    pub fn bits(self) -> u8 {
        self.bits
    }

    pub(super) fn contains(self, address: IpAddr) -> bool {
        let number = |address: IpAddr| match address {
            IpAddr::V4(address) => (u128::from(address.to_bits()) << 96, 4),
            IpAddr::V6(address) => (address.to_bits(), 6),
        };
        let ((one, kind), (two, other)) = (number(self.first), number(address));
        let differing = one ^ two;
        kind == other && (self.bits == 0 || differing >> (128 - u32::from(self.bits)) == 0)
    }
}
