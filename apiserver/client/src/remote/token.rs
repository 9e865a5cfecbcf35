//! Bearer tokens: a fixed one, or a file that is renewed under us.

use crate::Error;
use http::HeaderValue;
use parking_lot::Mutex;
use std::{path::PathBuf, time::Duration};
use tokio::time::Instant;

/// How long what a file said is believed.
const FRESH: Duration = Duration::from_secs(60);

/// Where the token comes from.
pub(super) struct Token {
    fixed: Option<String>,
    file: Option<PathBuf>,
    read: Mutex<Option<(Instant, HeaderValue)>>,
}

impl Token {
    /// A fixed token counts more than a file.
    pub(super) fn new(fixed: Option<String>, file: Option<PathBuf>) -> Self {
        Self { fixed, file, read: Mutex::new(None) }
    }

    /// The header to send.
    pub(super) fn header(&self) -> Result<Option<HeaderValue>, Error> {
        if let Some(text) = &self.fixed {
            return header(text).map(Some);
        }
        let Some(path) = &self.file else { return Ok(None) };
        let mut read = self.read.lock();
        if let Some((at, value)) = &*read
            && at.elapsed() < FRESH
        {
            return Ok(Some(value.clone()));
        }
        match std::fs::read_to_string(path) {
            Ok(text) => {
                let value = header(text.trim())?;
                *read = Some((Instant::now(), value.clone()));
                Ok(Some(value))
            }
            // The old one may still be good.
            Err(source) => match &*read {
                Some((_, value)) => Ok(Some(value.clone())),
                None => Err(Error::File { path: path.display().to_string(), source }),
            },
        }
    }
}

fn header(text: &str) -> Result<HeaderValue, Error> {
    let mut value = HeaderValue::from_str(&format!("Bearer {text}"))
        .map_err(|_| Error::Config("the token can't be a header".into()))?;
    value.set_sensitive(true);
    Ok(value)
}
