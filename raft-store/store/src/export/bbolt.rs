//! Writes a bbolt database in one pass: sorted keys become leaf pages as they come, branch pages
//! follow when a bucket ends.
//!
//! ```text
//! page 0, 1: meta · 2: free list (empty) · leaves, branches of each bucket · the root bucket
//! page: id u64, flags u16, count u16, overflow u32, elements, then keys and values
//! ```

use std::{
    fs::File,
    io::{self, BufWriter, Seek, SeekFrom, Write},
    path::Path,
};

use super::Counted;

/// Bytes of a page.
const PAGE: usize = 4096;
/// Bytes of a page's header, and of each element in a leaf or branch.
const HEADER: usize = 16;
const BRANCH: u16 = 0x01;
const LEAF: u16 = 0x02;
const META: u16 = 0x04;
const FREE_LIST: u16 = 0x10;
/// Marks an element of a leaf as a bucket.
const IS_BUCKET: u32 = 0x01;
const MAGIC: u32 = 0xED0C_DAED;
const VERSION: u32 = 2;
/// Page of the free list.
const FREE_LIST_PAGE: u64 = 2;
/// First page of data.
const FIRST_PAGE: u64 = 3;

/// A database being written.
pub(crate) struct Database {
    out: Counted<BufWriter<File>>,
    next_page: u64,
    /// Finished buckets: their names and root pages.
    buckets: Vec<(Vec<u8>, u64)>,
}

impl Database {
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        let file = File::create(path)?;
        let mut out = Counted { inner: BufWriter::with_capacity(1 << 20, file), bytes: 0 };
        out.write(&[0; PAGE * FIRST_PAGE as usize])?;
        Ok(Self { out, next_page: FIRST_PAGE, buckets: Vec::new() })
    }

    /// Begins a bucket; names come in order.
    pub(crate) fn bucket(&mut self, name: &str) -> io::Result<Bucket<'_>> {
        Ok(Bucket { database: self, name: name.into(), leaf: Leaf::default(), pages: Vec::new() })
    }

    /// Writes a page, with as many that follow it as its content needs; its number.
    fn page(&mut self, flags: u16, count: usize, content: &[u8]) -> io::Result<u64> {
        let id = self.next_page;
        let pages = (HEADER + content.len()).div_ceil(PAGE);
        self.out.write(&header(id, flags, count, pages)?)?;
        self.out.write(content)?;
        self.out.write(&vec![0; pages * PAGE - HEADER - content.len()])?;
        self.next_page += pages as u64;
        Ok(id)
    }

    /// Writes the bucket of buckets and the pages that lead to it.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        let buckets = std::mem::take(&mut self.buckets);
        let mut leaf = Leaf::default();
        for (name, root) in buckets {
            let value = [root.to_le_bytes(), 0u64.to_le_bytes()].concat();
            leaf.add(IS_BUCKET, &name, &value);
        }
        let root = self.page(LEAF, leaf.elements.len(), &leaf.content()?)?;
        let mut file = self.out.inner.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.seek(SeekFrom::Start(0))?;
        for id in 0..FREE_LIST_PAGE {
            let mut page = header(id, META, 0, 1)?.to_vec();
            page.extend(meta(root, self.next_page, id));
            page.resize(PAGE, 0);
            file.write_all(&page)?;
        }
        let mut page = header(FREE_LIST_PAGE, FREE_LIST, 0, 1)?.to_vec();
        page.resize(PAGE, 0);
        file.write_all(&page)?;
        file.sync_all()
    }
}

/// A bucket being written.
pub(crate) struct Bucket<'a> {
    database: &'a mut Database,
    name: Vec<u8>,
    leaf: Leaf,
    /// First keys and numbers of the pages so far.
    pages: Vec<(Vec<u8>, u64)>,
}

impl Bucket<'_> {
    /// Adds a value; keys come in order.
    pub(crate) fn put(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        let grown = self.leaf.bytes() + HEADER + key.len() + value.len();
        if !self.leaf.elements.is_empty() && HEADER + grown > PAGE {
            self.close_leaf()?;
        }
        self.leaf.add(0, key, value);
        Ok(())
    }

    fn close_leaf(&mut self) -> io::Result<()> {
        let leaf = std::mem::take(&mut self.leaf);
        let page = self.database.page(LEAF, leaf.elements.len(), &leaf.content()?)?;
        self.pages.push((leaf.first_key, page));
        Ok(())
    }

    /// Ends the bucket.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        if !self.leaf.elements.is_empty() || self.pages.is_empty() {
            self.close_leaf()?;
        }
        while self.pages.len() > 1 {
            self.pages = self.branches()?;
        }
        let root = self.pages[0].1;
        self.database.buckets.push((self.name, root));
        Ok(())
    }

    /// Writes the level above the pages.
    fn branches(&mut self) -> io::Result<Vec<(Vec<u8>, u64)>> {
        let children = std::mem::take(&mut self.pages);
        let mut above = Vec::new();
        let mut rest = &children[..];
        while !rest.is_empty() {
            let mut bytes = HEADER;
            let fits = |(key, _): &&(Vec<u8>, u64)| {
                bytes += HEADER + key.len();
                bytes <= PAGE
            };
            let count = rest.iter().take_while(fits).count().max(2).min(rest.len());
            // No branch with a single child at the end.
            let count = if rest.len() - count == 1 && count > 2 { count - 1 } else { count };
            let (group, others) = rest.split_at(count);
            rest = others;
            let page = self.database.page(BRANCH, count, &branch(group)?)?;
            above.push((group[0].0.clone(), page));
        }
        Ok(above)
    }
}

/// A leaf being filled.
#[derive(Default)]
struct Leaf {
    first_key: Vec<u8>,
    /// Flags, key length and value length of each.
    elements: Vec<(u32, usize, usize)>,
    data: Vec<u8>,
}

impl Leaf {
    fn add(&mut self, flags: u32, key: &[u8], value: &[u8]) {
        if self.elements.is_empty() {
            self.first_key = key.to_vec();
        }
        self.elements.push((flags, key.len(), value.len()));
        self.data.extend_from_slice(key);
        self.data.extend_from_slice(value);
    }

    fn bytes(&self) -> usize {
        self.elements.len() * HEADER + self.data.len()
    }

    fn content(&self) -> io::Result<Vec<u8>> {
        let mut content = Vec::with_capacity(self.bytes());
        let mut position = 0;
        for (at, (flags, key, value)) in self.elements.iter().enumerate() {
            let from_here = (self.elements.len() - at) * HEADER + position;
            content.extend(flags.to_le_bytes());
            content.extend(narrow(from_here)?.to_le_bytes());
            content.extend(narrow(*key)?.to_le_bytes());
            content.extend(narrow(*value)?.to_le_bytes());
            position += key + value;
        }
        content.extend_from_slice(&self.data);
        Ok(content)
    }
}

fn branch(children: &[(Vec<u8>, u64)]) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    let mut position = 0;
    for (at, (key, page)) in children.iter().enumerate() {
        let from_here = (children.len() - at) * HEADER + position;
        content.extend(narrow(from_here)?.to_le_bytes());
        content.extend(narrow(key.len())?.to_le_bytes());
        content.extend(page.to_le_bytes());
        position += key.len();
    }
    for (key, _) in children {
        content.extend_from_slice(key);
    }
    Ok(content)
}

fn header(id: u64, flags: u16, count: usize, pages: usize) -> io::Result<[u8; HEADER]> {
    let count = u16::try_from(count).map_err(io::Error::other)?;
    let mut bytes = [0; HEADER];
    bytes[..8].copy_from_slice(&id.to_le_bytes());
    bytes[8..10].copy_from_slice(&flags.to_le_bytes());
    bytes[10..12].copy_from_slice(&count.to_le_bytes());
    bytes[12..].copy_from_slice(&narrow(pages - 1)?.to_le_bytes());
    Ok(bytes)
}

fn meta(root: u64, pages: u64, transaction: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(64);
    for number in [MAGIC, VERSION, PAGE as u32, 0] {
        bytes.extend(number.to_le_bytes());
    }
    for number in [root, 0, FREE_LIST_PAGE, pages, transaction] {
        bytes.extend(number.to_le_bytes());
    }
    let checksum = fnv1a(&bytes);
    bytes.extend(checksum.to_le_bytes());
    bytes
}

pub(crate) fn fnv1a(bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325;
    for byte in bytes {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash
}

fn narrow(number: usize) -> io::Result<u32> {
    u32::try_from(number).map_err(io::Error::other)
}
