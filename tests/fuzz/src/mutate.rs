//! Makes inputs out of valid ones: a few changes each, of the kinds that decoders stumble over.

use rand::{Rng, SeedableRng, rngs::StdRng};

/// Inputs remembered beside the valid ones, to be changed further.
const KEPT: usize = 64;
/// Longest input that is made.
const LONGEST: usize = 1 << 16;
/// Changes made to one input, at most.
const CHANGES: usize = 4;
/// Bytes that often mean something: ends, signs, quotes, brackets, lengths.
const BYTES: &[u8] = b"\0\x01\x7f\x80\xff \n\"\\{}[]:,.=-+/%&0159aAzZ";
/// Numbers that often are too large, too small or just right.
const NUMBERS: &[u64] = &[
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0xffff,
    0x1_0000,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    0xffff_ffff_ffff_ffff,
    0xffff_ffff_ffff_fffe,
];

/// Makes inputs from a seed.
pub(crate) struct Mutator {
    random: StdRng,
    seeds: Vec<Vec<u8>>,
    /// Inputs that were taken.
    kept: Vec<Vec<u8>>,
}

impl Mutator {
    pub(crate) fn new(seed: u64, seeds: Vec<Vec<u8>>) -> Self {
        assert!(!seeds.is_empty(), "a target without a valid encoding");
        Self { random: StdRng::seed_from_u64(seed), seeds, kept: Vec::new() }
    }

    /// The valid encodings.
    pub(crate) fn seeds(&self) -> &[Vec<u8>] {
        &self.seeds
    }

    /// Remembers an input that was taken, in place of an older one.
    pub(crate) fn keep(&mut self, input: Vec<u8>) {
        if self.kept.len() < KEPT {
            self.kept.push(input);
        } else {
            let at = self.below(KEPT);
            self.kept[at] = input;
        }
    }

    /// The next input.
    pub(crate) fn next_input(&mut self) -> Vec<u8> {
        let mut input = self.pick();
        for _ in 0..=self.below(CHANGES) {
            self.change(&mut input);
        }
        input.truncate(LONGEST);
        input
    }

    /// A valid encoding, or something near one.
    fn pick(&mut self) -> Vec<u8> {
        let at = self.below(self.seeds.len() * 2 + self.kept.len());
        match at.checked_sub(self.seeds.len() * 2) {
            Some(at) => self.kept[at].clone(),
            None => self.seeds[at / 2].clone(),
        }
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let at = self.below(input.len() + 1);
        match self.below(10) {
            0 => input.truncate(at),
            1 => input.insert(at, self.random.random()),
            2 if at < input.len() => input[at] ^= 1 << self.below(8),
            3 if at < input.len() => input[at] = BYTES[self.below(BYTES.len())],
            4 if at < input.len() => input[at] = input[at].wrapping_add(1),
            5 => {
                let number = self.number();
                overwrite(input, at, &number);
            }
            6 => self.cut(input, at),
            7 => self.repeat(input, at),
            8 => {
                let other = self.pick();
                let from = self.below(other.len() + 1);
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
            _ => {
                let number = self.varint();
                input.splice(at..at, number);
            }
        }
    }

    /// A number of one of the widths and orders that files have.
    fn number(&mut self) -> Vec<u8> {
        let number = NUMBERS[self.below(NUMBERS.len())];
        let bytes = number.to_be_bytes();
        let width = [1, 2, 4, 8][self.below(4)];
        let mut bytes = bytes[8 - width..].to_vec();
        if self.below(2) == 0 {
            bytes.reverse();
        }
        bytes
    }

    /// A number as protobuf writes lengths.
    fn varint(&mut self) -> Vec<u8> {
        let mut number = NUMBERS[self.below(NUMBERS.len())];
        let mut bytes = Vec::new();
        loop {
            let low = (number & 0x7f) as u8;
            number >>= 7;
            if number == 0 {
                bytes.push(low);
                return bytes;
            }
            bytes.push(low | 0x80);
        }
    }

    fn cut(&mut self, input: &mut Vec<u8>, at: usize) {
        let length = self.below(16).min(input.len() - at);
        input.drain(at..at + length);
    }

    /// Doubles a piece, sometimes many times: depth and number are what it costs.
    fn repeat(&mut self, input: &mut Vec<u8>, at: usize) {
        let length = (1 + self.below(32)).min(input.len() - at);
        let piece = input[at..at + length].to_vec();
        let times = if self.below(8) == 0 { 200 } else { 1 };
        input.splice(at..at, piece.repeat(times));
    }

    fn below(&mut self, limit: usize) -> usize {
        self.random.random_range(0..limit)
    }
}

fn overwrite(input: &mut [u8], at: usize, with: &[u8]) {
    for (byte, new) in input[at..].iter_mut().zip(with) {
        *byte = *new;
    }
}
