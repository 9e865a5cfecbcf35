//! Tokens: what a client shows instead of its password. Which kind there is, is a setting:
//! `simple`, `jwt,option=value,…`, or nothing, in which case nobody gets any.

mod es512;
mod jwt;
mod keys;
mod simple;

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

use super::{AuthError, Identity};
use crate::Error;
use jwt::Jwt;
use simple::Simple;
pub(super) use simple::token as simple_token;

/// What the log did to tokens, for this member's memory of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TokenChange {
    /// A user got one.
    Assigned {
        /// The user's name.
        user: String,
        /// The token.
        token: String,
    },
    /// A user's tokens are void.
    Forgotten(String),
    /// Tokens count from here on.
    Enabled,
    /// All tokens are void.
    Disabled,
}

/// The kind of tokens that this member knows.
pub(crate) enum Tokens {
    /// Random words in memory.
    Simple(Simple),
    /// Signed claims.
    Jwt(Box<Jwt>),
    /// None.
    None,
}

impl Tokens {
    /// Reads the setting, and the files it names.
    pub(crate) fn new(setting: &str, ttl: Duration) -> Result<Self, Error> {
        let (kind, options) = parse(setting).ok_or_else(invalid)?;
        match kind {
            "simple" => Ok(Self::Simple(Simple::new(ttl))),
            "jwt" => {
                let jwt = Jwt::new(&options).map_err(|reason| {
                    Error::Start(format!("auth: invalid auth options: {reason}"))
                })?;
                Ok(Self::Jwt(Box::new(jwt)))
            }
            "" => Ok(Self::None),
            _ => Err(invalid()),
        }
    }

    /// The first half of the next token, which goes into the log; the second is the position.
    pub(super) fn prefix(&self) -> String {
        match self {
            Self::Simple(_) => simple::prefix(),
            Self::Jwt(_) | Self::None => String::new(),
        }
    }

    /// The token of a user whose authentication was applied.
    pub(super) fn issue(
        &self,
        user: &str,
        revision: u64,
        prefix: &str,
        index: u64,
    ) -> Result<String, Error> {
        match self {
            Self::Simple(_) => Ok(simple::token(prefix, index)),
            Self::Jwt(jwt) => jwt.sign(user, revision),
            Self::None => Err(AuthError::AuthFailed.into()),
        }
    }

    /// The position in the log that must be applied before a token can be known; `None` when the
    /// token is none of this kind.
    pub(crate) fn index(&self, token: &str) -> Option<u64> {
        match self {
            Self::Simple(_) => simple::index(token),
            Self::Jwt(_) => Some(0),
            Self::None => None,
        }
    }

    /// Whose token this is. `revision` is the auth revision of now.
    pub(crate) fn identify(&self, token: &str, revision: u64) -> Option<Identity> {
        match self {
            Self::Simple(simple) => {
                simple.user(Instant::now(), token).map(|name| Identity::User { name, revision })
            }
            Self::Jwt(jwt) => jwt.identify(token),
            Self::None => None,
        }
    }

    /// Takes note of what the log did.
    pub(crate) fn follow(&self, changes: Vec<TokenChange>) {
        if let Self::Simple(simple) = self {
            let now = Instant::now();
            for change in changes {
                simple.follow(now, change);
            }
        }
    }
}

fn invalid() -> Error {
    Error::Start("auth: invalid auth options".to_owned())
}

/// The kind and its options, each given once.
fn parse(setting: &str) -> Option<(&str, BTreeMap<&str, &str>)> {
    let mut parts = setting.split(',');
    let kind = parts.next()?;
    let mut options = BTreeMap::new();
    for part in parts {
        let (name, value) = part.split_once('=')?;
        if value.contains('=') || options.insert(name, value).is_some() {
            return None;
        }
    }
    Some((kind, options))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_a_kind_and_options_given_once() {
        let (kind, options) = parse("jwt,pub-key=a.pem,ttl=10m").unwrap();
        assert_eq!((kind, options["pub-key"], options["ttl"]), ("jwt", "a.pem", "10m"));
        assert_eq!(parse("simple").unwrap().0, "simple");
        assert_eq!(parse("jwt,a=1,a=2"), None);
        assert_eq!(parse("jwt,a"), None);
        assert_eq!(parse("jwt,a=b=c"), None);
        let ttl = Duration::from_secs(1);
        assert!(matches!(Tokens::new("", ttl), Ok(Tokens::None)));
        let error = Tokens::new("magic", ttl).err().unwrap();
        assert_eq!(error.to_string(), "auth: invalid auth options");
        assert!(Tokens::new("jwt,sign-method=none", ttl).is_err());
    }
}
