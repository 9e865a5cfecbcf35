//! Resources: discovery's rows joined with kinds, lists and printed columns.

use anyhow::{Context, Result};
use api::facts::raw::{RawResource, RawSubresource};
use serde_json::Value;

use crate::{
    source::Source,
    types::{Graph, strings, text},
};

/// Builds all resources, in discovery's order.
pub(crate) fn build(source: &Source, graph: &Graph) -> Result<Vec<RawResource<'static>>> {
    let mut rows = Vec::new();
    for root in ["/api", "/apis"] {
        for group in items(&source.discovery[root]["items"]) {
            let name = text(&group["metadata"], "name");
            for version in items(&group["versions"]) {
                let place = Place { source, graph, group: name, version: text(version, "version") };
                for resource in items(&version["resources"]) {
                    let row = place.resource(resource);
                    rows.push(row.with_context(|| format!("resource {resource}"))?);
                }
            }
        }
    }
    Ok(rows)
}

/// The group-version that is being built.
struct Place<'s> {
    source: &'s Source,
    graph: &'s Graph,
    group: &'static str,
    version: &'static str,
}

impl Place<'_> {
    fn resource(&self, resource: &'static Value) -> Result<RawResource<'static>> {
        let kind = text(&resource["responseKind"], "kind");
        let plural = text(resource, "resource");
        let list_kind: &'static str = Box::leak(format!("{kind}List").into_boxed_str());
        let ty = self.ty(self.group, self.version, kind).context("type of the kind")?;
        let root = if self.group.is_empty() { "/api" } else { "/apis/" };
        let path = format!("{root}{}/{}/{plural}", self.group, self.version);
        Ok(RawResource {
            gvk: (self.group, self.version, kind),
            names: (plural, text(resource, "singularResource")),
            ns: text(resource, "scope") == "Namespaced",
            verbs: strings(&resource["verbs"]),
            short: strings(&resource["shortNames"]),
            cats: strings(&resource["categories"]),
            subs: items(&resource["subresources"])
                .iter()
                .map(|sub| self.subresource(sub))
                .collect(),
            cols: items(&self.source.columns[path.as_str()]).iter().map(column).collect(),
            ty,
            list: self.ty(self.group, self.version, list_kind).map(|ty| (list_kind, ty)),
        })
    }

    fn subresource(&self, sub: &'static Value) -> RawSubresource<'static> {
        let response = &sub["responseKind"];
        let kind = text(response, "kind");
        let (group, version) = match text(response, "version") {
            "" => (self.group, self.version),
            version => (text(response, "group"), version),
        };
        RawSubresource {
            name: text(sub, "subresource"),
            gvk: (group, version, kind),
            ty: self.ty(group, version, kind),
            verbs: strings(&sub["verbs"]),
        }
    }

    fn ty(&self, group: &str, version: &str, kind: &str) -> Option<u32> {
        let slash = if group.is_empty() { "" } else { "/" };
        let name = &self.source.types["kinds"][format!("{group}{slash}{version} {kind}")];
        self.graph.id(name.as_str()?)
    }
}

fn column(column: &'static Value) -> (&'static str, &'static str, &'static str, i32) {
    let priority = column["priority"].as_i64().and_then(|p| i32::try_from(p).ok());
    (text(column, "name"), text(column, "type"), text(column, "format"), priority.unwrap_or(0))
}

fn items(value: &'static Value) -> &'static [Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}
