//! Resources: what the paths under a group-version are called and what may be done with them.

use super::types::TypeId;

/// A group, version and kind. The core group is the empty string.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Gvk<'a> {
    /// API group, empty for core.
    pub group: &'a str,
    /// Version, such as `v1`.
    pub version: &'a str,
    /// Kind, such as `Pod`.
    pub kind: &'a str,
}

/// One served resource of a group-version.
#[derive(Clone, Debug)]
pub struct Resource {
    /// API group, empty for core.
    pub group: &'static str,
    /// Version, such as `v1`.
    pub version: &'static str,
    /// Kind of one object.
    pub kind: &'static str,
    /// Name in paths, such as `pods`.
    pub plural: &'static str,
    /// Name of one, such as `pod`.
    pub singular: &'static str,
    /// Objects live in namespaces.
    pub namespaced: bool,
    /// Verbs of discovery, sorted.
    pub verbs: Vec<&'static str>,
    /// Short names, such as `po`.
    pub short_names: Vec<&'static str>,
    /// Categories, such as `all`.
    pub categories: Vec<&'static str>,
    /// Subresources, in discovery's order.
    pub subresources: Vec<Subresource>,
    /// Columns of its Table.
    pub columns: Vec<Column>,
    /// Type of one object.
    pub ty: TypeId,
    /// Type of the list, if objects can be listed.
    pub list_ty: Option<TypeId>,
    /// Kind of the list, such as `PodList`.
    pub list_kind: Option<&'static str>,
    /// Field selectors it supports, `metadata.name` and `metadata.namespace` included.
    pub selectable_fields: Vec<&'static str>,
}

/// A subresource such as `pods/status`.
#[derive(Clone, Debug)]
pub struct Subresource {
    /// Name after the object's, such as `status`.
    pub name: &'static str,
    /// Kind of the body that it takes and answers, as discovery tells it.
    pub kind: Gvk<'static>,
    /// Type of that kind, when it is a known type.
    pub ty: Option<TypeId>,
    /// Verbs of discovery, sorted.
    pub verbs: Vec<&'static str>,
}

/// A column of a Table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Heading.
    pub name: String,
    /// OpenAPI type of the cells.
    pub ty: String,
    /// OpenAPI format of the cells.
    pub format: String,
    /// What it shows.
    pub description: String,
    /// 0 is always shown, others on `-o wide`.
    pub priority: i32,
}

impl Resource {
    /// `v1` or `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// `pods` or `deployments.apps`, as in messages.
    pub fn qualified(&self) -> String {
        if self.group.is_empty() {
            self.plural.to_owned()
        } else {
            format!("{}.{}", self.plural, self.group)
        }
    }

    /// The subresource of this name.
    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|s| s.name == name)
    }

    /// Discovery lists this verb.
    pub fn allows(&self, verb: &str) -> bool {
        self.verbs.contains(&verb)
    }

    /// Group, version and kind of one object.
    pub fn gvk(&self) -> Gvk<'static> {
        Gvk { group: self.group, version: self.version, kind: self.kind }
    }
}

impl Gvk<'_> {
    /// `v1` or `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }
}

/// Splits `apps/v1` into group and version; `v1` is the core group.
pub fn split_api_version(api_version: &str) -> (&str, &str) {
    api_version.split_once('/').unwrap_or(("", api_version))
}
