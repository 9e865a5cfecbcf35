//! Reads a file that may be compressed, and digests what passes: images come plain or gzipped under
//! any name.

use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

/// Opens a file and inflates it when it starts like gzip. Other packers are named in the error.
pub(super) fn open(path: &Path) -> io::Result<Box<dyn Read>> {
    let mut file = File::open(path)?;
    let mut magic = Vec::new();
    file.by_ref().take(4).read_to_end(&mut magic)?;
    file.seek(SeekFrom::Start(0))?;
    let file = BufReader::with_capacity(1 << 18, file);
    match magic.as_slice() {
        [0x1f, 0x8b, ..] => Ok(Box::new(flate2::bufread::MultiGzDecoder::new(file))),
        [0x28, 0xb5, 0x2f, 0xfd] => Err(unsupported("zstd")),
        [0xfd, b'7', b'z', b'X'] => Err(unsupported("xz")),
        [b'B', b'Z', b'h', _] => Err(unsupported("bzip2")),
        _ => Ok(Box::new(file)),
    }
}

/// The error for a packer that this build cannot read.
fn unsupported(packer: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        format!("packed with {packer}, which is not supported; repack it with gzip"),
    )
}

/// A reader that digests what passes.
pub(super) struct Digesting<R> {
    inner: R,
    hasher: Sha256,
}

impl<R: Read> Digesting<R> {
    /// Wraps a reader.
    pub(super) fn new(inner: R) -> Self {
        Self { inner, hasher: Sha256::new() }
    }

    /// Reads to the end (a tar reader stops at its end mark) and tells the digest of all of it.
    pub(super) fn finish(mut self) -> io::Result<String> {
        io::copy(&mut self, &mut io::sink())?;
        Ok(format!("sha256:{}", hex::encode(self.hasher.finalize())))
    }
}

impl<R: Read> Read for Digesting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}
