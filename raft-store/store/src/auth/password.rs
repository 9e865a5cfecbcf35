//! Passwords: hashed and compared with bcrypt, beside everything else and not many at once.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use tokio::sync::Semaphore;

use super::AuthError;
use crate::Error;

/// Bytes of a password that bcrypt looks at.
const MAX_BYTES: usize = 72;
/// Cost when nobody says otherwise.
pub(super) const DEFAULT_COST: u32 = 10;
/// Costs that bcrypt knows.
const COSTS: std::ops::RangeInclusive<u32> = 4..=31;

/// Hashes and compares passwords.
pub(crate) struct Passwords {
    cost: u32,
    /// As many at once as there are processors: each keeps one busy.
    turns: Arc<Semaphore>,
}

impl Passwords {
    /// With a cost; one that bcrypt does not know is replaced by the default.
    pub(crate) fn new(cost: u32) -> Self {
        let cost = if COSTS.contains(&cost) {
            cost
        } else {
            tracing::warn!(cost, "no such bcrypt cost, the default is used");
            DEFAULT_COST
        };
        let turns = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self { cost, turns: Arc::new(Semaphore::new(turns)) }
    }

    /// The hash of a password, as it goes into the log.
    pub(super) async fn hash(&self, password: String) -> Result<String, Error> {
        if password.len() > MAX_BYTES {
            return Err(AuthError::PasswordTooLong.into());
        }
        let cost = self.cost;
        let hash = self.turn(move || bcrypt::hash(password, cost)).await?;
        let hash = hash.map_err(|error| Error::Internal(error.to_string()))?;
        Ok(STANDARD.encode(hash))
    }

    /// Whether a password has this hash.
    pub(super) async fn is_right(&self, password: String, hash: String) -> Result<bool, Error> {
        self.turn(move || bcrypt::verify(password, &hash).unwrap_or(false)).await
    }

    async fn turn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        let turn = self.turns.clone().acquire_owned().await;
        let turn = turn.expect("the semaphore is never closed");
        let working = tokio::task::spawn_blocking(move || {
            let done = work();
            drop(turn);
            done
        });
        working.await.map_err(|panic| Error::Internal(panic.to_string()))
    }
}

/// A hash out of the log.
pub(super) fn decode(hashed: &str) -> Result<Vec<u8>, AuthError> {
    STANDARD.decode(hashed).map_err(|_| AuthError::NoPasswordUser)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_hash_is_one_of_its_password_only() {
        let passwords = Passwords::new(4);
        let hash = passwords.hash("secret".to_owned()).await.unwrap();
        let hash = String::from_utf8(decode(&hash).unwrap()).unwrap();
        assert!(hash.starts_with("$2b$04$") && hash.len() == 60);
        assert!(passwords.is_right("secret".to_owned(), hash.clone()).await.unwrap());
        assert!(!passwords.is_right("Secret".to_owned(), hash).await.unwrap());
        assert!(!passwords.is_right(String::new(), String::new()).await.unwrap());
    }

    #[tokio::test]
    async fn a_hash_of_etcds_is_understood() {
        // Made by Go's bcrypt: version 2a.
        let hash = "$2a$10$XajjQvNhvvRt5GSeFk1xFeyqRrsxkhBkUiQeg0dt.wU1qD4aFDcga";
        let passwords = Passwords::new(0);
        assert_eq!(passwords.cost, DEFAULT_COST);
        let password = "allmine".to_owned();
        assert!(passwords.is_right(password, hash.to_owned()).await.unwrap());
    }

    #[tokio::test]
    async fn a_password_is_not_cut_off_silently() {
        let result = Passwords::new(4).hash("x".repeat(73)).await;
        assert_eq!(result, Err(AuthError::PasswordTooLong.into()));
        assert_eq!(decode("%"), Err(AuthError::NoPasswordUser));
    }
}
