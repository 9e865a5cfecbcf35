//! URLs to listen on: `http://host:port`, `https://host:port`, `unix://path` and `unixs://path`.

use anyhow::{Context, Result, bail};
use std::net::{SocketAddr, ToSocketAddrs};
use std::str::FromStr;
use store::{Address, Listen, Serves};

/// A URL of this member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListenUrl {
    scheme: Scheme,
    /// Host and port, or a path.
    rest: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Http,
    Https,
    Unix,
    Unixs,
}

const SCHEMES: &[(&str, Scheme)] = &[
    ("http://", Scheme::Http),
    ("https://", Scheme::Https),
    ("unix://", Scheme::Unix),
    ("unixs://", Scheme::Unixs),
];

impl FromStr for ListenUrl {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let text = text.trim();
        let found = SCHEMES
            .iter()
            .find_map(|(prefix, scheme)| text.strip_prefix(prefix).map(|rest| (*scheme, rest)));
        let Some((scheme, rest)) = found else {
            bail!("URL scheme must be http, https, unix, or unixs: {text}");
        };
        let rest = rest.trim_end_matches(|c: char| c == '/' || c.is_whitespace()).to_owned();
        if rest.is_empty() {
            bail!("{text} names no host");
        }
        let is_tcp = matches!(scheme, Scheme::Http | Scheme::Https);
        if is_tcp && rest.contains('/') {
            bail!("URL must not contain a path: {text}");
        }
        let port = rest.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
        if is_tcp && port.is_none() {
            bail!("{text} names no port");
        }
        Ok(Self { scheme, rest })
    }
}

impl ListenUrl {
    /// Whether TLS is spoken there.
    pub(crate) fn is_secure(&self) -> bool {
        matches!(self.scheme, Scheme::Https | Scheme::Unixs)
    }

    /// The host, where there is one.
    pub(crate) fn host(&self) -> Option<&str> {
        let (host, _) = self.rest.rsplit_once(':')?;
        let is_tcp = matches!(self.scheme, Scheme::Http | Scheme::Https);
        is_tcp.then(|| host.trim_start_matches('[').trim_end_matches(']'))
    }

    /// As it was given, without a slash at the end.
    pub(crate) fn text(&self) -> String {
        let scheme = SCHEMES.iter().find(|(_, scheme)| *scheme == self.scheme);
        format!("{}{}", scheme.map_or("", |(prefix, _)| prefix), self.rest)
    }

    /// The socket address.
    pub(crate) fn address(&self) -> Result<SocketAddr> {
        let url = self.text();
        let host = self.host().with_context(|| format!("{url} names no address of a network"))?;
        let port = self.rest.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
        let port = port.with_context(|| format!("{url} names no port"))?;
        let mut found = (host, port).to_socket_addrs().with_context(|| url.clone())?;
        found.next().with_context(|| format!("{url} names no address of this host"))
    }

    /// Where to listen.
    pub(crate) fn place(&self) -> Result<Address> {
        Ok(match self.scheme {
            Scheme::Http | Scheme::Https => Address::Tcp(self.address()?),
            Scheme::Unix | Scheme::Unixs => Address::Unix(self.rest.clone().into()),
        })
    }

    /// What the store is told.
    pub(crate) fn listen(&self, serves: Serves) -> Result<Listen> {
        Ok(Listen { address: self.place()?, secure: self.is_secure(), serves })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_checked_when_they_are_read() {
        let ok = |text: &str| text.parse::<ListenUrl>().expect("a URL");
        assert_eq!(ok("http://127.0.0.1:2379/").text(), "http://127.0.0.1:2379");
        assert_eq!(ok("https://[::1]:2379").host(), Some("::1"));
        assert!(ok("unixs:///tmp/x.sock").is_secure());
        let listen = ok("unix://localhost:m1").listen(Serves::All).expect("no look-up");
        assert_eq!(listen.address, Address::Unix("localhost:m1".into()));
        for bad in ["", "ftp://a:1", "http://", "http://a", "http://a:1/path"] {
            assert!(bad.parse::<ListenUrl>().is_err(), "{bad}");
        }
    }
}
