//! Counts messages as they pass in gRPC's frames, whatever pieces they come in.

/// Bytes before each message: whether it is compressed, and its length.
const HEAD: usize = 5;

/// Where a stream of frames stands.
#[derive(Debug, Default)]
pub(super) struct Frames {
    head: [u8; HEAD],
    /// Bytes of the head that were seen.
    seen: usize,
    /// Bytes of the message that are still to come.
    rest: u64,
}

impl Frames {
    /// Looks at a further piece: how many messages have ended in it.
    pub(super) fn pass(&mut self, mut piece: &[u8]) -> u64 {
        let mut ended = 0;
        while !piece.is_empty() {
            if self.seen < HEAD {
                let take = piece.len().min(HEAD - self.seen);
                self.head[self.seen..self.seen + take].copy_from_slice(&piece[..take]);
                self.seen += take;
                piece = &piece[take..];
                if self.seen < HEAD {
                    return ended;
                }
                let [_, length @ ..] = self.head;
                self.rest = u64::from(u32::from_be_bytes(length));
            }
            let take = usize::try_from(self.rest).unwrap_or(usize::MAX).min(piece.len());
            self.rest -= take as u64;
            piece = &piece[take..];
            if self.rest == 0 {
                ended += 1;
                self.seen = 0;
            }
        }
        ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_counted_whatever_pieces_they_come_in() {
        let frames =
            [&[0, 0, 0, 0, 3, 1, 2, 3][..], &[0, 0, 0, 0, 0], &[1, 0, 0, 0, 1, 9]].concat();
        for size in 1..=frames.len() {
            let mut passing = Frames::default();
            let ended: u64 = frames.chunks(size).map(|piece| passing.pass(piece)).sum();
            assert_eq!(ended, 3, "pieces of {size}");
        }
        assert_eq!(Frames::default().pass(&frames[..7]), 0);
    }
}
