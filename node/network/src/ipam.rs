//! Which addresses of the node's pod range are in use: one bit each, given out in turn so that an
//! address that was freed rests as long as possible before somebody else gets it.

use ipnet::Ipv4Net;
use std::net::Ipv4Addr;

/// The addresses of one range.
pub(crate) struct Pool {
    range: Ipv4Net,
    /// One bit per address, set when in use.
    used: Vec<u64>,
    /// Where the next search begins.
    next: u32,
}

impl Pool {
    /// All free, except the network's own address and the broadcast address.
    pub(crate) fn new(range: Ipv4Net) -> Self {
        let size = 1_u64 << (32 - u32::from(range.prefix_len()));
        let words = usize::try_from(size.div_ceil(64)).expect("at most 2^26 words");
        let mut pool = Self { range, used: vec![0; words], next: 1 };
        pool.mark(range.network());
        pool.mark(range.broadcast());
        pool
    }

    /// Takes the next free address.
    pub(crate) fn take(&mut self) -> Option<Ipv4Addr> {
        let size = self.size();
        for step in 0..size {
            let at = u32::try_from((u64::from(self.next) + step) % size).ok()?;
            if !self.is_used(at) {
                self.set(at, true);
                self.next = at.wrapping_add(1);
                return Some(Ipv4Addr::from(u32::from(self.range.network()) + at));
            }
        }
        None
    }

    /// Marks an address as used. Addresses of other ranges are none of our business.
    pub(crate) fn mark(&mut self, ip: Ipv4Addr) {
        if let Some(at) = self.position(ip) {
            self.set(at, true);
        }
    }

    /// Frees an address.
    pub(crate) fn free(&mut self, ip: Ipv4Addr) {
        if let Some(at) = self.position(ip) {
            self.set(at, false);
        }
    }

    fn size(&self) -> u64 {
        1 << (32 - u32::from(self.range.prefix_len()))
    }

    fn position(&self, ip: Ipv4Addr) -> Option<u32> {
        self.range.contains(&ip).then(|| u32::from(ip) - u32::from(self.range.network()))
    }

    fn is_used(&self, at: u32) -> bool {
        self.used[at as usize / 64] & (1 << (at % 64)) != 0
    }

    fn set(&mut self, at: u32, used: bool) {
        let bit = 1 << (at % 64);
        if used {
            self.used[at as usize / 64] |= bit;
        } else {
            self.used[at as usize / 64] &= !bit;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_given_in_turn_and_freed_ones_rest() {
        let mut pool = Pool::new("10.0.0.0/29".parse().unwrap());
        let first = pool.take().unwrap();
        assert_eq!(first, Ipv4Addr::new(10, 0, 0, 1));
        pool.free(first);
        let mut all: Vec<_> = std::iter::from_fn(|| pool.take()).collect();
        assert_eq!(all.first(), Some(&Ipv4Addr::new(10, 0, 0, 2)));
        assert_eq!(all.last(), Some(&first));
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 6);
    }

    #[test]
    fn marked_and_foreign_addresses_are_left_alone() {
        let mut pool = Pool::new("10.0.0.0/30".parse().unwrap());
        pool.mark(Ipv4Addr::new(10, 0, 0, 1));
        pool.mark(Ipv4Addr::new(10, 9, 9, 9));
        assert_eq!(pool.take(), Some(Ipv4Addr::new(10, 0, 0, 2)));
        assert_eq!(pool.take(), None);
    }
}
