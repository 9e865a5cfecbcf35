//! Sizes, words and docs of every file.

use regex::Regex;
use tidy::{complain, files, root};

/// Most lines of a file without its tests.
const FILE: usize = 500;
/// Names that say nothing.
const EMPTY_NAMES: &[&str] = &["utils.rs", "helpers.rs", "common.rs", "misc.rs"];
/// Files that were too long when this rule came. The list only shrinks.
const LONG: &[&str] = &[];

#[test]
fn files_are_short_and_say_what_they_are() {
    let mut complaints = Vec::new();
    for file in files(".rs") {
        let lines = file.code_lines();
        if lines > FILE && !file.is_test() && !LONG.contains(&file.path.as_str()) {
            complaints.push(format!("{}: {lines} lines, at most {FILE}", file.path));
        }
        if lines <= FILE && LONG.contains(&file.path.as_str()) {
            complaints.push(format!("{}: is short now, take it off LONG", file.path));
        }
        if !file.text.starts_with("//!") {
            complaints.push(format!("{}: must begin with //! (what it is, and why)", file.path));
        }
        let name = file.path.rsplit('/').next().unwrap_or_default();
        if EMPTY_NAMES.contains(&name) {
            complaints.push(format!("{}: a name that says nothing", file.path));
        }
    }
    complain("files", &complaints);
}

#[test]
fn no_unfinished_work_and_no_places_of_this_machine() {
    // Split, so that this file does not find itself.
    let words = [
        concat!("todo", "!("),
        concat!("unimplemented", "!("),
        concat!("#[", "ignore"),
        concat!("FIX", "ME"),
        concat!("/wo", "rk/"),
        concat!("/ro", "ot/"),
        concat!("index.crates", ".io"),
        concat!("static.crates", ".io"),
        concat!("proxy.golang", ".org"),
        concat!("registry.npmjs", ".org"),
        concat!("pypi", ".org"),
        concat!("deb.debian", ".org"),
    ];
    let mut complaints = Vec::new();
    for ending in [".rs", ".toml", ".sh", ".md", ".yaml", "Makefile"] {
        for file in files(ending).iter().filter(|file| file.path != "Cargo.lock") {
            for word in words.iter().filter(|word| file.text.contains(**word)) {
                complaints.push(format!("{}: {word}", file.path));
            }
        }
    }
    complain("words", &complaints);
}

#[test]
fn documents_keep_their_limits() {
    for (name, limit) in [("src/main.rs", 60), ("ARCHITECTURE.md", 300), ("Makefile", 100)] {
        let text = std::fs::read_to_string(root().join(name)).expect(name);
        let lines = text.lines().count();
        assert!(lines <= limit, "{name}: {lines} lines, at most {limit}");
    }
}

#[test]
fn every_public_item_says_what_it_means() {
    let item = Regex::new(r"^\s*pub (async fn|fn|struct|enum|trait|const|static|type) (\w+)")
        .expect("valid");
    let mut complaints = Vec::new();
    for file in
        files(".rs").iter().filter(|file| !file.is_test() && !file.path.contains("/examples/"))
    {
        let lines: Vec<&str> = file.text.lines().take(file.code_lines()).collect();
        for (at, line) in lines.iter().enumerate() {
            let Some(found) = item.captures(line) else { continue };
            let above = lines[..at].iter().rev().map(|line| line.trim());
            // Attributes of several lines may stand between the item and its words.
            let mut above = above.take_while(|line| !line.is_empty() && *line != "}");
            if !above.any(|line| line.starts_with("///")) {
                complaints.push(format!("{}:{}: {} has no ///", file.path, at + 1, &found[2]));
            }
        }
    }
    complain("docs", &complaints);
}
