//! Counts the gRPC messages that go by, without looking into them.

/// A gRPC message is a flag byte, a length of four bytes, and that many bytes.
const HEAD: u8 = 5;

/// Where in the stream of messages one direction is.
#[derive(Clone, Copy, Debug, Default)]
pub struct MessageCounter {
    /// Bytes of the head seen, 0 to 4.
    head: u8,
    /// The length read so far; once the head is complete, the bytes still to come.
    remaining: u32,
    in_body: bool,
    messages: u64,
}

impl MessageCounter {
    /// Messages that began and whose head is complete.
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// Takes the next bytes of the stream.
    pub fn observe(&mut self, mut data: &[u8]) {
        while let Some((&byte, rest)) = data.split_first() {
            if self.in_body {
                let taken = data
                    .len()
                    .min(usize::try_from(self.remaining).unwrap_or(usize::MAX));
                // `taken` is at most `remaining`, which is an u32.
                self.remaining -= u32::try_from(taken).unwrap_or(self.remaining);
                self.in_body = self.remaining > 0;
                data = data.split_at_checked(taken).map_or(&[], |(_, rest)| rest);
                continue;
            }
            if self.head == 0 {
                self.remaining = 0;
            } else {
                self.remaining = (self.remaining << 8) | u32::from(byte);
            }
            self.head += 1;
            if self.head == HEAD {
                self.head = 0;
                self.messages += 1;
                self.in_body = self.remaining > 0;
            }
            data = rest;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn counts_the_same_however_the_stream_is_cut(
            sizes in prop::collection::vec(0_usize..600, 0..12),
            cuts in prop::collection::vec(1_usize..50, 1..40),
        ) {
            let mut stream = Vec::new();
            for size in &sizes {
                stream.push(0);
                stream.extend(u32::try_from(*size).unwrap().to_be_bytes());
                stream.extend(std::iter::repeat_n(0xff, *size));
            }
            let mut counter = MessageCounter::default();
            let mut rest = stream.as_slice();
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (now, later) = rest.split_at((*cut).min(rest.len()));
                counter.observe(now);
                rest = later;
            }
            prop_assert_eq!(counter.messages(), sizes.len() as u64);
        }

        #[test]
        fn any_bytes_are_survived(data in prop::collection::vec(any::<u8>(), 0..2000)) {
            let mut counter = MessageCounter::default();
            counter.observe(&data);
            prop_assert!(counter.messages() <= data.len() as u64);
        }
    }
}
