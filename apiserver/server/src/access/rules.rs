//! One rule of a role, and whether it covers what somebody wants; whether rules cover other rules.

use serde_json::Value;
use std::fmt::Write;

use super::Attributes;
use crate::fields;

/// Stands for everything.
const ALL: &str = "*";

/// A policy rule.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rule {
    /// Verbs.
    pub verbs: Vec<String>,
    /// Groups.
    pub groups: Vec<String>,
    /// Resources, some with subresources.
    pub resources: Vec<String>,
    /// Objects; empty is all.
    pub names: Vec<String>,
    /// Paths that are no resources.
    pub urls: Vec<String>,
}

fn has(list: &[String], wanted: &str) -> bool {
    list.iter().any(|one| one == ALL || one == wanted)
}

impl Rule {
    /// Reads a rule.
    pub fn read(value: &Value) -> Self {
        let list = |path: &str| fields::texts(value, path).into_iter().map(str::to_owned).collect();
        Self {
            verbs: list("/verbs"),
            groups: list("/apiGroups"),
            resources: list("/resources"),
            names: list("/resourceNames"),
            urls: list("/nonResourceURLs"),
        }
    }

    /// Reads the rules of a role.
    pub fn all(role: &Value) -> Vec<Self> {
        fields::list(role, "/rules").iter().map(Self::read).collect()
    }

    /// Whether the rule allows what is wanted.
    pub fn allows(&self, wanted: &Attributes<'_>) -> bool {
        if !wanted.is_resource {
            return has(&self.verbs, wanted.verb)
                && self.urls.iter().any(|url| covers_url(url, wanted.path));
        }
        has(&self.verbs, wanted.verb)
            && has(&self.groups, wanted.group)
            && self.allows_resource(wanted.resource, wanted.subresource)
            && (self.names.is_empty() || self.names.iter().any(|name| name == wanted.name))
    }

    fn allows_resource(&self, resource: &str, subresource: &str) -> bool {
        self.resources.iter().any(|own| {
            own == ALL
                || match own.split_once('/') {
                    None => subresource.is_empty() && own == resource,
                    Some((ALL, sub)) => sub == subresource,
                    Some((res, sub)) => res == resource && sub == subresource,
                }
        })
    }

    /// The rule in pieces: each names one group, one resource and at most one object, or one path.
    pub fn pieces(&self) -> Vec<Self> {
        let mut pieces = Vec::new();
        for group in &self.groups {
            for resource in &self.resources {
                let piece = |names: Vec<String>| Self {
                    verbs: self.verbs.clone(),
                    groups: vec![group.clone()],
                    resources: vec![resource.clone()],
                    names,
                    urls: Vec::new(),
                };
                if self.names.is_empty() {
                    pieces.push(piece(Vec::new()));
                }
                pieces.extend(self.names.iter().map(|name| piece(vec![name.clone()])));
            }
        }
        pieces.extend(self.urls.iter().map(|url| Self {
            verbs: self.verbs.clone(),
            urls: vec![url.clone()],
            ..Self::default()
        }));
        pieces
    }

    /// What of a piece these rules don't cover: the verbs that are missing.
    pub fn missing(piece: &Self, held: &[Self]) -> Option<Self> {
        let missing = piece.verbs.iter().filter(|verb| {
            !held.iter().any(|rule| has(&rule.verbs, verb) && rule.covers_target(piece))
        });
        let verbs: Vec<String> = missing.cloned().collect();
        (!verbs.is_empty()).then(|| Self { verbs, ..piece.clone() })
    }

    /// Whether the rule reaches everything that a piece reaches, verbs aside.
    fn covers_target(&self, piece: &Self) -> bool {
        if let Some(url) = piece.urls.first() {
            return self.urls.iter().any(|own| {
                own == url || own.strip_suffix(ALL).is_some_and(|start| url.starts_with(start))
            });
        }
        let group = piece.groups.first().is_some_and(|group| has(&self.groups, group));
        let resource = piece.resources.first().is_some_and(|wanted| {
            let sub = wanted.split_once('/').map(|(_, sub)| format!("*/{sub}"));
            self.resources
                .iter()
                .any(|own| own == ALL || own == wanted || Some(own) == sub.as_ref())
        });
        let name = self.names.is_empty()
            || piece.names.first().is_some_and(|name| self.names.contains(name));
        group && resource && name
    }

    /// As the messages of the original show it.
    pub fn compact(&self) -> String {
        let mut text = String::from("{");
        let parts = [
            ("APIGroups", &self.groups),
            ("Resources", &self.resources),
            ("NonResourceURLs", &self.urls),
            ("ResourceNames", &self.names),
            ("Verbs", &self.verbs),
        ];
        for (name, list) in parts.into_iter().filter(|(_, list)| !list.is_empty()) {
            let comma = if text.len() > 1 { ", " } else { "" };
            let list: Vec<String> = list.iter().map(|one| format!("{one:?}")).collect();
            write!(text, "{comma}{name}:[{}]", list.join(" ")).expect("writing to a String");
        }
        text.push('}');
        text
    }
}

fn covers_url(url: &str, path: &str) -> bool {
    url == path || url.strip_suffix(ALL).is_some_and(|start| path.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rules_tell_resources_from_subresources() {
        let rule = Rule::read(
            &json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods", "*/scale"]}),
        );
        let wanted = |resource, subresource| Attributes {
            verb: "get",
            is_resource: true,
            resource,
            subresource,
            ..Attributes::default()
        };
        assert!(rule.allows(&wanted("pods", "")));
        assert!(!rule.allows(&wanted("pods", "log")));
        assert!(rule.allows(&wanted("deployments", "scale")));
    }

    #[test]
    fn what_is_not_held_is_named_piece_by_piece() {
        let wanted = Rule::read(&json!({"verbs": ["get", "delete"], "apiGroups": [""],
            "resources": ["pods", "secrets"]}));
        let held =
            [Rule::read(&json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}))];
        let missing: Vec<String> = wanted
            .pieces()
            .iter()
            .filter_map(|piece| Rule::missing(piece, &held))
            .map(|rule| rule.compact())
            .collect();
        let wanted = [
            "{APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"delete\"]}",
            "{APIGroups:[\"\"], Resources:[\"secrets\"], Verbs:[\"get\" \"delete\"]}",
        ];
        assert_eq!(missing, wanted);
    }
}
