//! A thing that is added often is one file and one row: every file has its row.

use std::collections::BTreeSet;
use tidy::{complain, files};

/// A table: the file with the rows, the folder of the things, files there that are no things.
struct Table {
    rows: &'static str,
    folder: &'static str,
    other: &'static [&'static str],
}

/// All tables that tidy knows.
const TABLES: &[Table] = &[
    Table {
        rows: "scheduler/src/plugins/mod.rs",
        folder: "scheduler/src/plugins",
        other: &["mod", "tests"],
    },
    Table {
        rows: "apiserver/server/src/admission/mod.rs",
        folder: "apiserver/server/src/admission",
        other: &["mod", "lookup", "resources", "tests"],
    },
];

#[test]
fn every_thing_has_a_row() {
    let mut complaints = Vec::new();
    for table in TABLES {
        let all = files(".rs");
        let rows = all.iter().find(|file| file.path == table.rows);
        let rows = rows.unwrap_or_else(|| panic!("{} is missing", table.rows));
        let (_, rows) = rows.text.split_once("PLUGINS").expect("a table PLUGINS");
        let things: BTreeSet<&str> = all
            .iter()
            .filter_map(|file| file.path.strip_prefix(table.folder)?.strip_prefix('/'))
            .filter(|name| !name.contains('/'))
            .filter_map(|name| name.strip_suffix(".rs"))
            .filter(|name| !table.other.contains(name))
            .collect();
        for thing in things {
            if !rows.contains(&format!("{thing}::")) {
                complaints
                    .push(format!("{}/{thing}.rs has no row in {}", table.folder, table.rows));
            }
        }
    }
    complain("tables", &complaints);
}
