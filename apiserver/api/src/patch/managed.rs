//! `metadata.managedFields` as data: which manager owns which paths.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::fields::Set;
use super::go;

/// Entries of ordinary writers above this are folded into one.
const MOST_UPDATERS: usize = 10;
/// The manager that old writers are folded into.
const FOLDED: &str = "ancient-changes";

/// Who owns fields. The order is that of upstream's identifiers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Manager {
    /// Its name.
    pub(super) name: String,
    /// `Apply` or `Update`.
    pub(super) operation: Operation,
    /// The version it wrote in; empty for appliers, which have one entry whatever the version.
    pub(super) api_version: String,
    /// The subresource it wrote through.
    pub(super) subresource: String,
}

/// How a manager writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Operation {
    /// Server-side apply.
    Apply,
    /// Any other write.
    Update,
}

/// What a manager owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owned {
    /// The paths.
    pub(super) set: Set,
    /// The version that the paths belong to.
    pub(super) api_version: String,
    /// When it last gained something.
    pub(super) time: Option<String>,
}

/// All managers of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Managed(pub(super) BTreeMap<Manager, Owned>);

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Self::Apply => "Apply",
            Self::Update => "Update",
        }
    }
}

impl Manager {
    /// As conflicts name it.
    pub(super) fn describe(&self) -> String {
        let mut text = go::quote(&self.name);
        if !self.subresource.is_empty() {
            text.push_str(&format!(" with subresource {}", go::quote(&self.subresource)));
        }
        if self.operation == Operation::Update {
            text.push_str(&format!(" using {}", self.api_version));
        }
        text
    }
}

impl Managed {
    /// The managers of an object; `None` when the entries are not valid.
    pub(super) fn of(object: &Value) -> Option<Managed> {
        match object.pointer("/metadata/managedFields") {
            None | Some(Value::Null) => Some(Managed::default()),
            Some(entries) => Managed::decode(entries.as_array()?),
        }
    }

    fn decode(entries: &[Value]) -> Option<Managed> {
        let mut out = BTreeMap::new();
        for entry in entries {
            let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default();
            let operation = match text("operation") {
                "Apply" => Operation::Apply,
                "Update" => Operation::Update,
                _ => return None,
            };
            let api_version = text("apiVersion").to_owned();
            if api_version.is_empty() || text("fieldsType") != "FieldsV1" {
                return None;
            }
            let set = match entry.get("fieldsV1") {
                None | Some(Value::Null) => Set::default(),
                Some(value) => Set::from_value(value)?,
            };
            let time = entry.get("time").and_then(Value::as_str).map(str::to_owned);
            let manager = Manager {
                name: text("manager").to_owned(),
                operation,
                api_version: match operation {
                    Operation::Apply => String::new(),
                    Operation::Update => api_version.clone(),
                },
                subresource: text("subresource").to_owned(),
            };
            out.insert(manager, Owned { set, api_version, time });
        }
        Some(Managed(out))
    }

    /// Writes the entries into an object.
    pub(super) fn write(&self, object: &mut Value) {
        let entries = self.encode();
        let Some(object) = object.as_object_mut() else { return };
        let metadata = object.entry("metadata").or_insert_with(|| Value::Object(Map::new()));
        let Some(metadata) = metadata.as_object_mut() else { return };
        if entries.is_empty() {
            metadata.remove("managedFields");
        } else {
            metadata.insert("managedFields".to_owned(), Value::Array(entries));
        }
    }

    fn encode(&self) -> Vec<Value> {
        let mut rows: Vec<(&Manager, &Owned)> = self.0.iter().collect();
        rows.sort_by_key(|(manager, owned)| {
            let time = owned.time.clone().unwrap_or_default();
            let name = (&manager.name, &owned.api_version, &manager.subresource);
            (manager.operation, time, name)
        });
        rows.into_iter().map(|(manager, owned)| entry(manager, owned)).collect()
    }

    /// Drops managers that own nothing.
    pub(super) fn drop_empty(&mut self) {
        self.0.retain(|_, owned| !owned.set.is_empty());
    }

    /// Folds the oldest writers of one version into one entry when there are too many.
    pub(super) fn cap(&mut self) {
        let mut updaters: Vec<(String, Manager)> = self
            .0
            .iter()
            .filter(|(manager, _)| manager.operation == Operation::Update)
            .map(|(manager, owned)| (owned.time.clone().unwrap_or_default(), manager.clone()))
            .collect();
        let mut count = updaters.len();
        updaters.sort();
        let mut first: BTreeMap<String, Manager> = BTreeMap::new();
        for (_, manager) in updaters {
            if count <= MOST_UPDATERS {
                return;
            }
            let version = manager.api_version.clone();
            let Some(start) = first.get(&version) else {
                first.insert(version, manager);
                continue;
            };
            let bucket = Manager {
                name: FOLDED.to_owned(),
                operation: Operation::Update,
                api_version: version,
                subresource: String::new(),
            };
            if let Some(owned) = self.0.remove(start) {
                self.0.entry(bucket.clone()).or_insert(owned);
            }
            if let Some(owned) = self.0.remove(&manager)
                && let Some(into) = self.0.get_mut(&bucket)
            {
                into.set = into.set.union(&owned.set);
                into.time = owned.time;
            }
            count -= 1;
        }
    }
}

fn entry(manager: &Manager, owned: &Owned) -> Value {
    let mut map = Map::new();
    map.insert("manager".to_owned(), manager.name.as_str().into());
    map.insert("operation".to_owned(), manager.operation.name().into());
    map.insert("apiVersion".to_owned(), owned.api_version.as_str().into());
    if let Some(time) = &owned.time {
        map.insert("time".to_owned(), time.as_str().into());
    }
    map.insert("fieldsType".to_owned(), "FieldsV1".into());
    map.insert("fieldsV1".to_owned(), owned.set.to_value());
    if !manager.subresource.is_empty() {
        map.insert("subresource".to_owned(), manager.subresource.as_str().into());
    }
    Value::Object(map)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn manager(name: &str) -> Manager {
        Manager {
            name: name.to_owned(),
            operation: Operation::Update,
            api_version: "v1".to_owned(),
            subresource: String::new(),
        }
    }

    #[test]
    fn the_oldest_writers_are_folded_into_one() {
        let mut managed = Managed::default();
        for at in 0..12 {
            let mut set = Set::default();
            set.insert_fields(&["data", &format!("k{at}")]);
            let time = Some(format!("2026-01-01T00:00:{at:02}Z"));
            let owned = Owned { set, api_version: "v1".to_owned(), time };
            managed.0.insert(manager(&format!("m{at}")), owned);
        }
        managed.cap();
        assert_eq!(managed.0.len(), 10);
        let folded = &managed.0[&manager(FOLDED)];
        assert_eq!(folded.set.to_value(), json!({"f:data": {"f:k0": {}, "f:k1": {}, "f:k2": {}}}));
        assert_eq!(folded.time.as_deref(), Some("2026-01-01T00:00:02Z"));
    }

    #[test]
    fn invalid_entries_count_as_none() {
        let object = json!({"metadata": {"managedFields": [{"manager": "x"}]}});
        assert!(Managed::of(&object).is_none());
    }
}
