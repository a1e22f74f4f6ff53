//! Numbers and strings as bytes: LEB128, signed numbers zigzag, strings behind their length.

use std::ops::ControlFlow;

/// Reads from the front of a slice; `None` if it is too short or makes no sense.
#[derive(Clone, Debug)]
pub(super) struct Input<'a>(pub(super) &'a [u8]);

impl<'a> Input<'a> {
    pub(super) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    pub(super) fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        self.take(length)
    }

    pub(super) fn number(&mut self) -> Option<u64> {
        let mut number = Number::default();
        loop {
            if let ControlFlow::Break(value) = number.push(self.byte()?) {
                return value;
            }
        }
    }

    pub(super) fn small(&mut self) -> Option<u32> {
        self.number()?.try_into().ok()
    }

    pub(super) fn signed(&mut self) -> Option<i64> {
        let value = self.number()?;
        Some((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }
}

/// A number that comes byte by byte.
#[derive(Debug, Default)]
pub(super) struct Number {
    value: u64,
    shift: u32,
}

impl Number {
    /// Takes the next byte. The last one gives the number, `None` if that does not fit or is written longer than need be.
    pub(super) fn push(&mut self, byte: u8) -> ControlFlow<Option<u64>> {
        let bits = u64::from(byte & 0x7f);
        if self.shift > 63 || (self.shift == 63 && bits > 1) || (self.shift > 0 && byte == 0) {
            return ControlFlow::Break(None);
        }
        self.value |= bits << self.shift;
        self.shift += 7;
        if byte & 0x80 == 0 {
            return ControlFlow::Break(Some(self.value));
        }
        ControlFlow::Continue(())
    }
}

pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

pub(super) fn put_number(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push((value & 0x7f) as u8);
}

pub(super) fn put_signed(out: &mut Vec<u8>, value: i64) {
    put_number(out, ((value << 1) ^ (value >> 63)).cast_unsigned());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_are_read_as_they_were_written(number: u64, signed: i64) {
            let mut out = Vec::new();
            put_number(&mut out, number);
            put_signed(&mut out, signed);
            let mut input = Input(&out);
            prop_assert_eq!(input.number(), Some(number));
            prop_assert_eq!(input.signed(), Some(signed));
            prop_assert!(input.0.is_empty());
        }
    }

    #[test]
    fn numbers_that_do_not_fit_or_do_not_end_are_refused() {
        let largest = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
        assert_eq!(Input(&largest).number(), Some(u64::MAX));
        for bytes in [&[][..], &[0x80], &[0x80, 0], &[0xff; 10], &[0xff; 11]] {
            assert_eq!(Input(bytes).number(), None, "{bytes:?}");
        }
    }
}
