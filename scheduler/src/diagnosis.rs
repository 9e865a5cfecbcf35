//! Why a Pod could not be placed, in the words that users and tools know.

use crate::{
    framework::{Reason, Verdict},
    node_info::NodeInfo,
};
use std::collections::BTreeMap;

/// What one node was refused for.
pub struct NodeVerdict<'a> {
    /// Which node.
    pub node: &'a NodeInfo,
    /// The plugin that refused it.
    pub plugin: &'static str,
    /// What it said.
    pub verdict: Verdict,
}

/// Why no node was found.
#[derive(Default)]
pub struct Refusal<'a> {
    /// How many nodes there are.
    pub total: usize,
    /// Node by node.
    pub nodes: Vec<NodeVerdict<'a>>,
    /// Nodes that a plugin has excluded without looking at them: how many, and which plugin.
    pub excluded: Option<(usize, &'static str)>,
    /// Refused before any node was looked at: by which plugin, and why.
    pub before: Option<(&'static str, Vec<Reason>)>,
}

impl Refusal<'_> {
    /// The plugins that refused, each once.
    pub fn plugins(&self) -> Vec<&'static str> {
        let before = self.before.iter().map(|(plugin, _)| *plugin);
        let mut all: Vec<&'static str> = Vec::new();
        let excluded = self.excluded.map(|(_, plugin)| plugin);
        for plugin in before.chain(excluded).chain(self.nodes.iter().map(|one| one.plugin)) {
            if !all.contains(&plugin) {
                all.push(plugin);
            }
        }
        all
    }

    /// The sentence for the Pod's condition and event; `after` is what preemption had to say.
    pub fn message(&self, after: &str) -> String {
        if self.total == 0 {
            return "no nodes available to schedule pods".into();
        }
        let mut text = match &self.before {
            Some((_, reasons)) => {
                format!("0/{} nodes are available: {}.", self.total, reasons.join(", "))
            }
            None => {
                let reasons = self.nodes.iter().flat_map(|one| one.verdict.reasons());
                let (excluded, plugin) = self.excluded.unwrap_or_default();
                let reason = format!("node(s) didn't satisfy plugin(s) [{plugin}]");
                let excluded = std::iter::repeat_n(reason.as_str(), excluded);
                count(self.total, reasons.map(AsRef::as_ref).chain(excluded))
            }
        };
        if !after.is_empty() {
            text.push(' ');
            text.push_str(after);
        }
        text
    }
}

/// "0/3 nodes are available: 1 this, 2 that."
pub fn count<'a>(total: usize, reasons: impl Iterator<Item = &'a str>) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for reason in reasons {
        *counts.entry(reason).or_default() += 1;
    }
    let mut parts: Vec<String> =
        counts.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    parts.sort();
    let mut text = format!("0/{total} nodes are available");
    if !parts.is_empty() {
        text.push_str(": ");
        text.push_str(&parts.join(", "));
    }
    text.push('.');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_counted_and_sorted_as_text() {
        let node = NodeInfo::named("a");
        let refused = |reasons: &[&'static str]| NodeVerdict {
            node: &node,
            plugin: "NodeResourcesFit",
            verdict: Verdict::Unschedulable(reasons.iter().map(|one| (*one).into()).collect()),
        };
        let refusal = Refusal {
            total: 3,
            nodes: vec![
                refused(&["Insufficient cpu", "Insufficient memory"]),
                refused(&["Insufficient memory"]),
                refused(&["Insufficient cpu"]),
            ],
            excluded: None,
            before: None,
        };
        assert_eq!(
            refusal.message("preemption: x."),
            "0/3 nodes are available: 2 Insufficient cpu, 2 Insufficient memory. preemption: x."
        );
        assert_eq!(refusal.plugins(), ["NodeResourcesFit"]);
    }

    #[test]
    fn an_empty_cluster_has_its_own_words() {
        assert_eq!(Refusal::default().message("x"), "no nodes available to schedule pods");
    }
}
