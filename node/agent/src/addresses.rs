//! Addresses for Pods of a node without a pod network: counted in memory out of the node's range.

use ipnet::Ipv4Net;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::Ipv4Addr;

/// Who has which address.
#[derive(Default)]
pub(crate) struct Addresses {
    range: Option<Ipv4Net>,
    state: Mutex<State>,
}

/// Taken addresses and where to look next.
#[derive(Default)]
struct State {
    taken: HashMap<String, Ipv4Addr>,
    next: u32,
}

impl Addresses {
    /// All addresses of a range, except its own name, the first and the last one.
    pub(crate) fn new(range: Option<Ipv4Net>) -> Self {
        Self { range, state: Mutex::default() }
    }

    /// The address of a Pod; `None` when all are taken.
    pub(crate) fn acquire(&self, uid: &str) -> Option<Ipv4Addr> {
        let mut state = self.state.lock();
        if let Some(ip) = state.taken.get(uid) {
            return Some(*ip);
        }
        let range = self.range?;
        let first = u32::from(range.network()) + 2;
        let count = u32::from(range.broadcast()).checked_sub(first)?;
        for _ in 0..count {
            let ip = Ipv4Addr::from(first + state.next % count);
            state.next = (state.next + 1) % count;
            if !state.taken.values().any(|taken| *taken == ip) {
                state.taken.insert(uid.to_owned(), ip);
                return Some(ip);
            }
        }
        None
    }

    /// Keeps an address that a Pod had before.
    pub(crate) fn keep(&self, uid: &str, ip: Ipv4Addr) {
        self.state.lock().taken.insert(uid.to_owned(), ip);
    }

    /// Frees a Pod's address.
    pub(crate) fn release(&self, uid: &str) {
        self.state.lock().taken.remove(uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_given_once_and_again_after_release() {
        let all = Addresses::new(Some("10.1.0.0/29".parse().unwrap()));
        let of = |uid: &str| all.acquire(uid).map(|ip| ip.to_string());
        assert_eq!(of("a").as_deref(), Some("10.1.0.2"));
        assert_eq!(of("a").as_deref(), Some("10.1.0.2"));
        let rest: Vec<_> = ["b", "c", "d", "e"].iter().map(|uid| of(uid).unwrap()).collect();
        assert_eq!(rest, ["10.1.0.3", "10.1.0.4", "10.1.0.5", "10.1.0.6"]);
        assert_eq!(of("f"), None);
        all.release("c");
        assert_eq!(of("f").as_deref(), Some("10.1.0.4"));
    }
}
