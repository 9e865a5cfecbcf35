//! Header blocks: names and values, compressed over the whole life of a connection with a preset dictionary.
//!
//! The decompressor is fed a stored block with the dictionary first, which puts it into the window as a preset
//! dictionary would: then any inflate will do. What we send carries no dictionary, which every reader takes.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use std::io;

use super::dictionary;

/// Names and values of a block; a value holds several values with NUL between them.
pub(crate) type Headers = Vec<(String, String)>;

/// Longest block after decompression.
const LONGEST: usize = 64 << 10;
/// Bytes of a zlib header, and of the dictionary's id behind it.
const ZLIB_HEADER: usize = 2;
const DICTIONARY_ID: usize = 4;
/// The bit of a zlib header that says that a dictionary's id follows.
const HAS_DICTIONARY: u8 = 0x20;

/// Reads blocks.
pub(crate) struct Reader {
    inflate: Decompress,
    /// Bytes of the zlib header that are still to be skipped; `None` before the first block.
    begun: bool,
}

impl Reader {
    /// At the beginning of a connection.
    pub(crate) fn new() -> Self {
        Self { inflate: Decompress::new(false), begun: false }
    }

    /// Reads one block.
    pub(crate) fn read(&mut self, block: &[u8]) -> io::Result<Headers> {
        let mut block = block;
        if !self.begun {
            self.begun = true;
            block = self.begin(block)?;
        }
        parse(&self.inflate(block)?)
    }

    /// Skips the zlib header and puts the dictionary into the window.
    fn begin<'a>(&mut self, block: &'a [u8]) -> io::Result<&'a [u8]> {
        let flags = *block.get(1).ok_or_else(|| bad("a header block without zlib header"))?;
        let with_dictionary = flags & HAS_DICTIONARY != 0;
        let skip = ZLIB_HEADER + if with_dictionary { DICTIONARY_ID } else { 0 };
        let rest = block.get(skip..).ok_or_else(|| bad("a cut zlib header"))?;
        if with_dictionary {
            let dictionary = dictionary::bytes();
            let length = u16::try_from(dictionary.len()).expect("the dictionary is short");
            let mut stored = vec![0];
            stored.extend_from_slice(&length.to_le_bytes());
            stored.extend_from_slice(&(!length).to_le_bytes());
            stored.extend_from_slice(&dictionary);
            self.inflate(&stored)?;
        }
        Ok(rest)
    }

    fn inflate(&mut self, mut input: &[u8]) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        let mut piece = vec![0; 4096];
        loop {
            let (read, written) = (self.inflate.total_in(), self.inflate.total_out());
            self.inflate
                .decompress(input, &mut piece, FlushDecompress::Sync)
                .map_err(|error| bad(&error.to_string()))?;
            let read = (self.inflate.total_in() - read) as usize;
            let written = (self.inflate.total_out() - written) as usize;
            input = &input[read..];
            all.extend_from_slice(&piece[..written]);
            if all.len() > LONGEST {
                return Err(bad("a header block that is too long"));
            }
            if read == 0 && written == 0 {
                return Ok(all);
            }
        }
    }
}

/// Writes blocks.
pub(crate) struct Writer {
    deflate: Compress,
}

impl Writer {
    /// At the beginning of a connection.
    pub(crate) fn new() -> Self {
        Self { deflate: Compress::new(Compression::fast(), true) }
    }

    /// Writes one block.
    pub(crate) fn write(&mut self, headers: &Headers) -> io::Result<Vec<u8>> {
        let plain = render(headers);
        let mut out = Vec::with_capacity(plain.len() + 64);
        let mut input = &plain[..];
        loop {
            let read = self.deflate.total_in();
            out.reserve(256);
            self.deflate
                .compress_vec(input, &mut out, FlushCompress::Sync)
                .map_err(|error| bad(&error.to_string()))?;
            input = &input[(self.deflate.total_in() - read) as usize..];
            if input.is_empty() && out.len() < out.capacity() {
                return Ok(out);
            }
        }
    }
}

fn render(headers: &Headers) -> Vec<u8> {
    let mut plain = Vec::new();
    let number = |plain: &mut Vec<u8>, length: usize| {
        let length = u32::try_from(length).expect("headers of ours are short");
        plain.extend_from_slice(&length.to_be_bytes());
    };
    number(&mut plain, headers.len());
    for (name, value) in headers {
        for text in [name, value] {
            number(&mut plain, text.len());
            plain.extend_from_slice(text.as_bytes());
        }
    }
    plain
}

fn parse(plain: &[u8]) -> io::Result<Headers> {
    let mut rest = plain;
    let count = number(&mut rest)?;
    let mut headers = Headers::new();
    for _ in 0..count {
        let name = text(&mut rest)?.to_ascii_lowercase();
        headers.push((name, text(&mut rest)?));
    }
    Ok(headers)
}

fn number(rest: &mut &[u8]) -> io::Result<usize> {
    let (head, tail) = rest.split_at_checked(4).ok_or_else(|| bad("a cut header block"))?;
    *rest = tail;
    Ok(u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize)
}

fn text(rest: &mut &[u8]) -> io::Result<String> {
    let length = number(rest)?;
    let (head, tail) = rest.split_at_checked(length).ok_or_else(|| bad("a cut header"))?;
    *rest = tail;
    Ok(String::from_utf8_lossy(head).into_owned())
}

fn bad(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first block of a real spdystream client: a zlib stream with the dictionary's id.
    #[test]
    fn blocks_survive_both_ways_and_share_their_window() {
        let (mut writer, mut reader) = (Writer::new(), Reader::new());
        let first =
            vec![("streamtype".to_owned(), "data".to_owned()), ("port".into(), "80".into())];
        for headers in [first.clone(), first, vec![("x".into(), "y".repeat(5000))]] {
            let block = writer.write(&headers).expect("written");
            assert_eq!(reader.read(&block).expect("read"), headers);
        }
    }

    #[test]
    fn a_block_that_leans_on_the_dictionary_is_read() {
        // Made with zlib.compressobj(zdict=dictionary) of {"version": "HTTP/1.1", "method": "get"}.
        let block = hex::decode(include_str!("testdata/block.hex").trim()).expect("hex");
        let headers = Reader::new().read(&block).expect("read");
        assert_eq!(headers[0], ("version".to_owned(), "HTTP/1.1".to_owned()));
        assert_eq!(headers[1], ("method".to_owned(), "get".to_owned()));
    }

    #[test]
    fn broken_blocks_are_refused() {
        assert!(Reader::new().read(&[]).is_err());
        assert!(Reader::new().read(&[0x78, 0x9c, 0xff, 0xff]).is_err());
        assert!(parse(&[0, 0, 0, 9]).is_err());
    }
}
