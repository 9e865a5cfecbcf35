//! Reads the repository as text, for the rules that no lint knows: layers, tables, sizes, words.

use std::fs;
use std::path::{Path, PathBuf};

/// The repository's root.
pub fn root() -> PathBuf {
    // Asked for when it runs: a build may come from a checkout that lay elsewhere.
    let here = std::env::var("CARGO_MANIFEST_DIR");
    let here = here.unwrap_or_else(|_| env!("CARGO_MANIFEST_DIR").to_owned());
    Path::new(&here).ancestors().nth(2).expect("tests/tidy lies two below the root").to_owned()
}

/// A file of the repository.
pub struct File {
    /// Its path below the root, with `/`.
    pub path: String,
    /// Its text.
    pub text: String,
}

impl File {
    /// Whether it holds tests alone.
    pub fn is_test(&self) -> bool {
        let name = self.path.rsplit('/').next().unwrap_or_default();
        self.path.starts_with("tests/")
            || self.path.contains("/tests/")
            || name.ends_with("tests.rs")
            || matches!(name, "testing.rs" | "memory.rs")
    }

    /// Lines up to the first test module.
    pub fn code_lines(&self) -> usize {
        let code =
            self.text.find("#[cfg(test)]\nmod tests {").map_or(&*self.text, |at| &self.text[..at]);
        code.lines().count()
    }
}

/// All files with this ending, in order of their paths.
pub fn files(ending: &str) -> Vec<File> {
    let root = root();
    let mut found = Vec::new();
    walk(&root, &root, ending, &mut found);
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn walk(root: &Path, folder: &Path, ending: &str, found: &mut Vec<File>) {
    for entry in fs::read_dir(folder).expect("a readable folder").flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.is_dir() {
            if !matches!(name.as_str(), ".git" | "target") {
                walk(root, &path, ending, found);
            }
        } else if name.ends_with(ending) {
            let Ok(text) = fs::read_to_string(&path) else { continue };
            let path =
                path.strip_prefix(root).expect("below the root").to_string_lossy().into_owned();
            found.push(File { path, text });
        }
    }
}

/// Joins complaints; empty is good.
pub fn complain(what: &str, complaints: &[String]) {
    assert!(complaints.is_empty(), "{what}:\n  {}", complaints.join("\n  "));
}
