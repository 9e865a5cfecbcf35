//! A thing that is added often is one file and one row: every file has its row.

use std::collections::BTreeSet;
use tidy::{complain, files};

/// A table: its name, the file with the rows, the folder of the things, files there that are no
/// things.
struct Table {
    name: &'static str,
    rows: &'static str,
    folder: &'static str,
    other: &'static [&'static str],
}

/// All tables that tidy knows.
const TABLES: &[Table] = &[
    Table {
        name: "PLUGINS",
        rows: "scheduler/src/plugins/mod.rs",
        folder: "scheduler/src/plugins",
        other: &["mod", "tests"],
    },
    Table {
        name: "PLUGINS",
        rows: "apiserver/server/src/admission/mod.rs",
        folder: "apiserver/server/src/admission",
        other: &["mod", "lookup", "resources", "tests"],
    },
    Table {
        name: "NEMESES",
        rows: "tests/harness/src/nemeses/mod.rs",
        folder: "tests/harness/src/nemeses",
        other: &["mod"],
    },
    Table {
        name: "INVARIANTS",
        rows: "tests/simulation/src/invariants/mod.rs",
        folder: "tests/simulation/src/invariants",
        other: &["mod"],
    },
    Table {
        name: "TARGETS",
        rows: "raft-store/consensus/src/fuzz/mod.rs",
        folder: "raft-store/consensus/src/fuzz",
        other: &["mod"],
    },
    Table {
        name: "TARGETS",
        rows: "raft-store/store/src/fuzz/mod.rs",
        folder: "raft-store/store/src/fuzz",
        other: &["mod"],
    },
    Table {
        name: "TARGETS",
        rows: "src/store/fuzz/mod.rs",
        folder: "src/store/fuzz",
        other: &["mod"],
    },
];

#[test]
fn every_thing_has_a_row() {
    let mut complaints = Vec::new();
    for table in TABLES {
        let all = files(".rs");
        let rows = all.iter().find(|file| file.path == table.rows);
        let rows = rows.unwrap_or_else(|| panic!("{} is missing", table.rows));
        let found = rows.text.split_once(&format!("const {}: ", table.name));
        let (_, rows) = found.unwrap_or_else(|| panic!("no table {}", table.name));
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

/// Where the controllers' table stands.
const MANAGER: &str = "controllers/src/manager.rs";

/// The module path below `controllers/src` that a file is: `apps/daemonset/mod.rs` is
/// `apps::daemonset`.
fn module(path: &str) -> String {
    let path = path.strip_suffix(".rs").unwrap_or(path);
    path.strip_suffix("/mod").unwrap_or(path).replace('/', "::")
}

#[test]
fn every_controller_has_its_row_and_every_row_its_controller() {
    let all = files(".rs");
    let manager = all.iter().find(|file| file.path == MANAGER).expect("a manager");
    let (_, table) = manager.text.split_once("CONTROLLERS: &[").expect("a table CONTROLLERS");
    let (table, _) = table.split_once("];").expect("the end of the table");
    let rows: BTreeSet<String> = table
        .lines()
        .filter_map(|line| line.trim().strip_prefix('&')?.strip_suffix("::DEF,"))
        .map(str::to_owned)
        .collect();
    let controllers: BTreeSet<String> = all
        .iter()
        .filter(|file| file.text.contains("const DEF: Controller ="))
        .filter_map(|file| file.path.strip_prefix("controllers/src/"))
        .map(module)
        .collect();
    assert!(controllers.len() > 20, "the controllers are found: {controllers:?}");
    let without = controllers.difference(&rows);
    let mut complaints: Vec<String> =
        without.map(|one| format!("{one} has a DEF but no row in {MANAGER}")).collect();
    let empty = rows.difference(&controllers);
    complaints
        .extend(empty.map(|one| format!("the row {one} of {MANAGER} has no file with a DEF")));
    complain("controllers", &complaints);
}
