//! Simple tokens: 16 random letters, a dot, and where in the log the user was authenticated.
//! Every member that applies that entry knows the token, for as long as it is used.

use std::{collections::BTreeMap, time::Duration};

use parking_lot::Mutex;
use rand::Rng as _;
use tokio::time::Instant;

use super::TokenChange;

/// Letters of a token's first half.
const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
/// How many of them.
const LENGTH: usize = 16;
/// Tokens below which nobody looks for old ones.
const FEW: usize = 1024;

/// The tokens that are known here.
pub(crate) struct Simple {
    ttl: Duration,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    is_enabled: bool,
    tokens: BTreeMap<String, Token>,
    /// How many there may be before old ones are looked for.
    many: usize,
}

struct Token {
    user: String,
    end: Instant,
}

impl Simple {
    /// Tokens that live so long without being used.
    pub(super) fn new(ttl: Duration) -> Self {
        Self { ttl, known: Mutex::default() }
    }

    /// Whose token this is; looking keeps it alive.
    pub(super) fn user(&self, now: Instant, token: &str) -> Option<String> {
        let mut known = self.known.lock();
        let found = known.tokens.get_mut(token).filter(|found| found.end >= now)?;
        found.end = now + self.ttl;
        Some(found.user.clone())
    }

    /// Takes note of what the log did.
    pub(super) fn follow(&self, now: Instant, change: TokenChange) {
        let mut known = self.known.lock();
        match change {
            TokenChange::Assigned { user, token } => {
                if known.is_enabled {
                    known.make_room(now);
                    known.tokens.insert(token, Token { user, end: now + self.ttl });
                }
            }
            TokenChange::Forgotten(user) => known.tokens.retain(|_, token| token.user != user),
            TokenChange::Enabled => known.is_enabled = true,
            TokenChange::Disabled => *known = Known::default(),
        }
    }
}

impl Known {
    /// Forgets tokens that have run out, once there are twice as many as were left last time.
    fn make_room(&mut self, now: Instant) {
        if self.tokens.len() < self.many.max(FEW) {
            return;
        }
        self.tokens.retain(|_, token| token.end >= now);
        self.many = self.tokens.len() * 2;
    }
}

/// The first half of a token.
pub(super) fn prefix() -> String {
    let mut random = rand::rng();
    (0..LENGTH).map(|_| char::from(LETTERS[random.random_range(0..LETTERS.len())])).collect()
}

/// A token of both halves.
pub(in crate::auth) fn token(prefix: &str, index: u64) -> String {
    format!("{prefix}.{index}")
}

/// A token's second half.
pub(super) fn index(token: &str) -> Option<u64> {
    let (_, index) = token.split_once('.')?;
    let is_number = !index.is_empty() && index.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| index.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assigned(user: &str, token: &str) -> TokenChange {
        TokenChange::Assigned { user: user.to_owned(), token: token.to_owned() }
    }

    fn later(start: Instant, seconds: usize) -> Instant {
        start + Duration::from_secs(seconds as u64)
    }

    #[test]
    fn a_token_lives_while_it_is_used() {
        let (simple, start) = (Simple::new(Duration::from_secs(300)), Instant::now());
        simple.follow(start, TokenChange::Enabled);
        simple.follow(start, assigned("ann", "aaaa.7"));
        for seconds in [200, 400, 700] {
            assert_eq!(simple.user(later(start, seconds), "aaaa.7").as_deref(), Some("ann"));
        }
        assert_eq!(simple.user(later(start, 1001), "aaaa.7"), None);
    }

    #[test]
    fn tokens_are_void_when_the_log_says_so() {
        let (simple, now) = (Simple::new(Duration::from_secs(300)), Instant::now());
        simple.follow(now, assigned("ann", "early.1"));
        assert_eq!(simple.user(now, "early.1"), None);
        simple.follow(now, TokenChange::Enabled);
        for (user, token) in [("ann", "a.1"), ("ann", "b.2"), ("bob", "c.3")] {
            simple.follow(now, assigned(user, token));
        }
        simple.follow(now, TokenChange::Forgotten("ann".to_owned()));
        let known = |token| simple.user(now, token).is_some();
        assert_eq!(["a.1", "b.2", "c.3"].map(known), [false, false, true]);
        simple.follow(now, TokenChange::Disabled);
        assert_eq!(simple.user(now, "c.3"), None);
    }

    #[test]
    fn old_tokens_do_not_pile_up() {
        let (simple, start) = (Simple::new(Duration::from_secs(10)), Instant::now());
        simple.follow(start, TokenChange::Enabled);
        for at in 0..FEW * 3 {
            simple.follow(later(start, at), assigned("ann", &token("x", at as u64)));
        }
        assert!(simple.known.lock().tokens.len() <= FEW);
    }

    #[test]
    fn a_token_tells_where_it_was_made() {
        let made = token(&prefix(), 42);
        assert_eq!((made.len(), index(&made)), (LENGTH + 3, Some(42)));
        for bad in ["", "abc", "abc.", "abc.x", "abc.1.2", "abc.+1", "abc.99999999999999999999"] {
            assert_eq!(index(bad), None, "{bad}");
        }
    }
}
