//! Reads a bbolt database, of any page size, without mapping it into memory: a page at a time
//! along the way to the next key.
//!
//! Nothing in a file is believed: every page number, length and order is checked, so that a
//! damaged file ends in an error that says where, never in a panic, a loop or much memory.

use std::{collections::HashSet, fs::File, io, os::unix::fs::FileExt, path::Path};

use crate::state::disk::invalid;

/// Bytes of a page's header, and of each element in a leaf or branch.
const HEADER: usize = 16;
const BRANCH: u16 = 0x01;
const LEAF: u16 = 0x02;
/// Marks an element of a leaf as a bucket.
const IS_BUCKET: u32 = 0x01;
const MAGIC: u32 = 0xED0C_DAED;
const VERSION: u32 = 2;
/// Page sizes that systems have.
const PAGE_SIZES: [usize; 7] = [1024, 2048, 4096, 8192, 16384, 32768, 65536];
/// Bytes of a meta page that are summed.
const META: usize = 56;
/// Levels that a tree may have: four more than 2^63 keys need.
const DEPTH: usize = 24;

/// An open database.
pub(crate) struct Reader {
    file: File,
    /// Bytes of the database, without a checksum behind it.
    length: u64,
    page_size: usize,
    root: u64,
    /// Pages that the database has.
    pages: u64,
}

/// What a page holds.
struct Page {
    flags: u16,
    count: usize,
    /// All of it, the header included.
    bytes: Vec<u8>,
}

/// An element of a leaf.
struct Element<'a> {
    is_bucket: bool,
    key: &'a [u8],
    value: &'a [u8],
}

/// Where a bucket's tree begins.
enum Root {
    Page(u64),
    /// A small bucket lies in its parent's value.
    Inline(Page),
}

impl Reader {
    /// Opens a file of which the first `length` bytes are the database.
    pub(crate) fn open(path: &Path, length: u64) -> io::Result<Self> {
        let file = File::open(path)?;
        let mut newest: Option<(u64, Self)> = None;
        for page_size in PAGE_SIZES {
            for at in [0, page_size as u64] {
                let Some(meta) = meta(&file, at)? else { continue };
                if meta.page_size != page_size
                    || newest.as_ref().is_some_and(|(transaction, _)| *transaction >= meta.txid)
                {
                    continue;
                }
                let file = file.try_clone()?;
                let Meta { root, pages, txid, .. } = meta;
                newest = Some((txid, Self { file, length, page_size, root, pages }));
            }
        }
        let (_, reader) = newest.ok_or_else(|| invalid("not a bbolt database"))?;
        let needed = reader.pages.saturating_mul(reader.page_size as u64);
        if needed > length {
            return Err(invalid("the database is cut off: it has fewer pages than it says"));
        }
        Ok(reader)
    }

    /// Bytes of the database.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Names of all buckets, in order.
    pub(crate) fn buckets(&self) -> io::Result<Vec<Vec<u8>>> {
        let mut names = Vec::new();
        self.walk(&Root::Page(self.root), &mut |element| {
            if element.is_bucket {
                names.push(element.key.to_vec());
            }
            Ok(())
        })?;
        Ok(names)
    }

    /// Visits all values of a bucket in order. A bucket that is not there has none.
    pub(crate) fn visit(
        &self,
        name: &[u8],
        mut visit: impl FnMut(&[u8], &[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut root = None;
        self.walk(&Root::Page(self.root), &mut |element| {
            if element.is_bucket && element.key == name {
                root = Some(bucket_root(element.value)?);
            }
            Ok(())
        })?;
        let Some(root) = root else { return Ok(()) };
        self.walk(&root, &mut |element| match element.is_bucket {
            true => Ok(()),
            false => visit(element.key, element.value),
        })
    }

    /// Walks a tree in the order of its keys, which is checked.
    fn walk(
        &self,
        root: &Root,
        visit: &mut dyn FnMut(Element<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut last: Option<Vec<u8>> = None;
        let mut leaf = |page: &Page| {
            for at in 0..page.count {
                let element = page.element(at)?;
                if last.as_deref().is_some_and(|last| last >= element.key) {
                    return Err(invalid("keys of the database are out of order"));
                }
                last.get_or_insert_default().clear();
                last.get_or_insert_default().extend_from_slice(element.key);
                visit(element)?;
            }
            Ok(())
        };
        let id = match root {
            Root::Inline(page) => return leaf(page),
            Root::Page(id) => *id,
        };
        let mut seen = HashSet::new();
        // Pages of all trees together are at most those of the file: longer ones overlap.
        let mut read = 0;
        // Branches on the way down, and which child of each comes next.
        let mut path: Vec<(Page, usize)> = Vec::new();
        let mut next = Some(id);
        loop {
            if let Some(id) = next.take() {
                if !seen.insert(id) {
                    return Err(invalid("a page of the database is used twice"));
                }
                let page = self.page(id)?;
                read += (page.bytes.len() / self.page_size) as u64;
                if read > self.pages {
                    return Err(invalid("pages of the database overlap"));
                }
                match page.flags {
                    LEAF => leaf(&page)?,
                    BRANCH if path.len() < DEPTH => path.push((page, 0)),
                    _ => return Err(invalid("a page of the database is of the wrong kind")),
                }
            }
            let Some((page, at)) = path.last_mut() else { return Ok(()) };
            if *at < page.count {
                next = Some(page.child(*at)?);
                *at += 1;
            } else {
                path.pop();
            }
        }
    }

    fn page(&self, id: u64) -> io::Result<Page> {
        let bad = || invalid("a page of the database is not readable");
        if id < 2 || id >= self.pages {
            return Err(invalid("a page number is outside the database"));
        }
        let offset = id * self.page_size as u64;
        let mut bytes = vec![0; self.page_size];
        self.file.read_exact_at(&mut bytes, offset)?;
        let overflow = u64::from(u32_at(&bytes, 12).ok_or_else(bad)?);
        if u64_at(&bytes, 0) != Some(id) || overflow >= self.pages - id {
            return Err(bad());
        }
        if overflow > 0 {
            let rest = usize::try_from(overflow).map_err(io::Error::other)? * self.page_size;
            bytes.resize(self.page_size + rest, 0);
            let from = offset + self.page_size as u64;
            self.file.read_exact_at(&mut bytes[self.page_size..], from)?;
        }
        Page::parse(bytes)
    }
}

impl Page {
    fn parse(bytes: Vec<u8>) -> io::Result<Self> {
        let bad = || invalid("a page of the database has no header");
        let flags = u16_at(&bytes, 8).ok_or_else(bad)?;
        let count = usize::from(u16_at(&bytes, 10).ok_or_else(bad)?);
        Ok(Self { flags, count, bytes })
    }

    fn element(&self, at: usize) -> io::Result<Element<'_>> {
        let found = || {
            let start = HEADER + at * HEADER;
            let flags = u32_at(&self.bytes, start)?;
            let position = start + u32_at(&self.bytes, start + 4)? as usize;
            let key_end = position + u32_at(&self.bytes, start + 8)? as usize;
            let value_end = key_end + u32_at(&self.bytes, start + 12)? as usize;
            let key = self.bytes.get(position..key_end)?;
            let value = self.bytes.get(key_end..value_end)?;
            Some(Element { is_bucket: flags & IS_BUCKET != 0, key, value })
        };
        found().ok_or_else(|| invalid("an element of the database reaches beyond its page"))
    }

    fn child(&self, at: usize) -> io::Result<u64> {
        let start = HEADER + at * HEADER;
        u64_at(&self.bytes, start + 8)
            .ok_or_else(|| invalid("a branch of the database reaches beyond its page"))
    }
}

fn bucket_root(value: &[u8]) -> io::Result<Root> {
    let root = u64_at(value, 0).ok_or_else(|| invalid("a bucket without a root"))?;
    if root != 0 {
        return Ok(Root::Page(root));
    }
    // Behind the bucket's own two numbers.
    let page = Page::parse(value.get(HEADER..).unwrap_or_default().to_vec())?;
    match page.flags {
        LEAF => Ok(Root::Inline(page)),
        _ => Err(invalid("a bucket of the wrong kind")),
    }
}

struct Meta {
    page_size: usize,
    root: u64,
    pages: u64,
    txid: u64,
}

/// The meta page at an offset, if there is a whole one.
fn meta(file: &File, at: u64) -> io::Result<Option<Meta>> {
    let mut bytes = [0; HEADER + META + 8];
    match file.read_exact_at(&mut bytes, at) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let body = &bytes[HEADER..HEADER + META];
    let parsed = || {
        let is_whole = u32_at(body, 0)? == MAGIC
            && u32_at(body, 4)? == VERSION
            && u64_at(&bytes, HEADER + META)? == super::bbolt::fnv1a(body);
        is_whole.then_some(Meta {
            page_size: u32_at(body, 8)? as usize,
            root: u64_at(body, 16)?,
            pages: u64_at(body, 40)?,
            txid: u64_at(body, 48)?,
        })
    };
    Ok(parsed())
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::export::bbolt::Database;

    fn database(name: &str, fill: impl FnOnce(&mut Database)) -> std::path::PathBuf {
        let name = format!("trireme-bbolt-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let mut database = Database::create(&path).unwrap();
        fill(&mut database);
        database.finish().unwrap();
        path
    }

    /// Bucket, key and length of a value.
    type Found = (Vec<u8>, Vec<u8>, usize);

    fn read(path: &Path) -> io::Result<Vec<Found>> {
        let reader = Reader::open(path, fs::metadata(path)?.len())?;
        let mut all = Vec::new();
        for name in reader.buckets()? {
            reader.visit(&name, |key, value| {
                all.push((name.clone(), key.to_vec(), value.len()));
                Ok(())
            })?;
        }
        Ok(all)
    }

    #[test]
    fn what_was_written_reads_back_over_several_levels_and_pages() {
        let path = database("levels", |database| {
            let mut bucket = database.bucket("a").unwrap();
            for at in 0..20_000u32 {
                let value = vec![7; if at % 1000 == 0 { 10_000 } else { 20 }];
                bucket.put(format!("key {at:08}").as_bytes(), &value).unwrap();
            }
            bucket.finish().unwrap();
            database.bucket("b").unwrap().finish().unwrap();
            let mut bucket = database.bucket("c").unwrap();
            bucket.put(b"only", b"").unwrap();
            bucket.finish().unwrap();
        });
        let all = read(&path).unwrap();
        fs::remove_file(path).unwrap();
        assert_eq!(all.len(), 20_001);
        assert_eq!(all[1000], (b"a".to_vec(), b"key 00001000".to_vec(), 10_000));
        assert_eq!(all[20_000], (b"c".to_vec(), b"only".to_vec(), 0));
    }

    #[test]
    fn pages_that_overlap_are_refused() {
        let path = database("overlap", |database| {
            let mut bucket = database.bucket("key").unwrap();
            for at in 0..2000u32 {
                bucket.put(&at.to_be_bytes(), b"some value").unwrap();
            }
            bucket.finish().unwrap();
        });
        let mut bytes = fs::read(&path).unwrap();
        let pages = bytes.len() / 4096;
        for id in 3..pages {
            let page = &mut bytes[id * 4096..];
            if page[8] == 2 {
                // A leaf that reaches to the end.
                let rest = u32::try_from(pages - id - 1).unwrap();
                page[12..16].copy_from_slice(&rest.to_le_bytes());
            }
        }
        fs::write(&path, &bytes).unwrap();
        let error = read(&path).unwrap_err();
        fs::remove_file(path).unwrap();
        assert_eq!(error.to_string(), "pages of the database overlap");
    }

    #[test]
    fn a_damaged_file_is_refused_and_never_panics() {
        let path = database("damage", |database| {
            let mut bucket = database.bucket("key").unwrap();
            for at in 0..500u32 {
                bucket.put(&at.to_be_bytes(), b"some value").unwrap();
            }
            bucket.finish().unwrap();
        });
        let whole = fs::read(&path).unwrap();
        let mut refused = 0;
        for round in 0..600 {
            let mut bytes = whole.clone();
            let at = (round * 7919) % bytes.len();
            bytes[at] ^= 1 << (round % 8);
            bytes[(round * 104_729) % whole.len()] = 0xff;
            fs::write(&path, &bytes).unwrap();
            refused += usize::from(read(&path).is_err());
        }
        for length in [0, 100, 4096, 5000, whole.len() - 1] {
            fs::write(&path, &whole[..length]).unwrap();
            assert!(read(&path).is_err(), "{length} bytes");
        }
        fs::remove_file(path).unwrap();
        assert!(refused > 0);
    }
}
