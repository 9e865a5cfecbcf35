//! Who may import whom: ARCHITECTURE.md's table, as data.

use serde_json::Value;
use std::collections::BTreeMap;
use std::process::Command;
use tidy::{complain, root};

/// A crate of ours and those of ours that it may import. What knows everything is not listed.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("stdx", &[]),
    ("base2histogram", &[]),
    ("fuzz", &[]),
    ("proto", &["stdx"]),
    ("consensus", &["stdx", "proto"]),
    ("store", &["stdx", "proto", "consensus"]),
    ("api", &["stdx"]),
    ("client", &["stdx", "api"]),
    ("server", &["stdx", "api", "client", "proto", "store"]),
    ("controllers", &["stdx", "api", "client"]),
    ("scheduler", &["stdx", "api", "client"]),
    ("runtime", &["stdx"]),
    ("network", &["stdx"]),
    ("proxy", &["stdx", "api", "client"]),
    ("agent", &["stdx", "api", "client", "runtime", "network"]),
];
/// Crates that may import anything.
const KNOW_EVERYTHING: &[&str] =
    &["trireme", "facts-gen", "harness", "simulation", "suite", "tidy", "bench"];
/// What a crate must never link, because it is kept pure.
const PURE: &[(&str, &[&str])] = &[("api", &["tokio", "hyper", "rocksdb", "tonic"])];
/// Heavy libraries and who owns them.
const OWNERS: &[(&str, &[&str])] = &[
    ("rocksdb", &["consensus", "store"]),
    ("openraft", &["consensus"]),
    ("rtnetlink", &["network", "trireme", "proxy"]),
];

/// Every crate of ours with the names of its ordinary dependencies.
fn dependencies() -> BTreeMap<String, Vec<String>> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--format-version=1", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let name = |value: &Value| value["name"].as_str().unwrap_or_default().to_owned();
    packages
        .iter()
        .map(|package| {
            let all = package["dependencies"].as_array().into_iter().flatten();
            (name(package), all.filter(|one| one["kind"].is_null()).map(name).collect())
        })
        .collect()
}

#[test]
fn crates_import_only_what_their_layer_allows() {
    let all = dependencies();
    let mut complaints = Vec::new();
    for (name, dependencies) in &all {
        if KNOW_EVERYTHING.contains(&name.as_str()) {
            continue;
        }
        let Some((_, allowed)) = MAY_IMPORT.iter().find(|(known, _)| known == name) else {
            complaints.push(format!("{name} has no row in MAY_IMPORT"));
            continue;
        };
        for dependency in dependencies.iter().filter(|one| all.contains_key(*one)) {
            if !allowed.contains(&dependency.as_str()) {
                complaints.push(format!("{name} must not import {dependency}"));
            }
        }
        let pure = PURE.iter().find(|(known, _)| known == name).map_or(&[][..], |row| row.1);
        for dependency in dependencies.iter().filter(|one| pure.contains(&one.as_str())) {
            complaints.push(format!("{name} must not link {dependency}"));
        }
    }
    complain("layers", &complaints);
}

#[test]
fn heavy_libraries_have_owners() {
    let mut complaints = Vec::new();
    for (name, dependencies) in dependencies() {
        for (library, owners) in OWNERS {
            if dependencies.iter().any(|one| one == library) && !owners.contains(&name.as_str()) {
                complaints.push(format!("{name} uses {library}, which belongs to {owners:?}"));
            }
        }
    }
    complain("owners", &complaints);
}
