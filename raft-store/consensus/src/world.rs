//! What a member stands on beside its processor: the network to other members and the disk under
//! its log. Real ones, unless a simulation brings its own.

use std::{fmt, io, sync::Arc};

use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};

/// A member's surroundings; the default is the real ones.
#[derive(Debug, Clone, Default)]
pub struct World {
    /// Opens connections instead of the system.
    pub network: Option<Arc<dyn Network>>,
    /// Holds the log instead of a RocksDB.
    pub disk: Option<Arc<dyn LogDisk>>,
}

/// A connection, encrypted or not.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// Opens connections.
pub trait Network: fmt::Debug + Send + Sync {
    /// Connects to a port of a host. Where nobody listens the error is of the kind
    /// [`io::ErrorKind::ConnectionRefused`]; where nobody is there is no answer at all.
    fn connect(&self, host: &str, port: u16) -> BoxFuture<'static, io::Result<Box<dyn Io>>>;
}

/// A change of one place of a log's disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// Puts a value under a key.
    Put(Vec<u8>, Vec<u8>),
    /// Removes a key.
    Delete(Vec<u8>),
    /// Removes all keys from the first up to, but not including, the second.
    DeleteRange(Vec<u8>, Vec<u8>),
}

/// Sees the values of a range, one after the other, until it says no.
pub type Visit<'a> = &'a mut dyn FnMut(&[u8]) -> io::Result<bool>;

/// An ordered map of bytes that holds a log: `l` and eight bytes of the index, the highest first,
/// is an entry; everything else begins with another letter.
pub trait LogDisk: fmt::Debug + Send + Sync {
    /// The value of a key.
    fn get(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>>;
    /// The last key up to this one, and its value.
    fn last(&self, upto: &[u8]) -> io::Result<Option<(Vec<u8>, Vec<u8>)>>;
    /// Visits values from the first key up to, but not including, the second.
    fn visit(&self, from: &[u8], to: &[u8], visit: Visit<'_>) -> io::Result<()>;
    /// Writes all or nothing. Readers see it at once; a crash before the next
    /// [`sync`](Self::sync) may take it away.
    fn write(&self, writes: Vec<Write>) -> io::Result<()>;
    /// Makes what was written durable, which takes its time.
    fn sync(&self) -> BoxFuture<'_, io::Result<()>>;
}
