//! Label selectors, node selectors and tolerations, compiled once per Pod and matched many times.

use k8s_openapi::{
    api::core::v1::{Node, NodeSelectorRequirement, NodeSelectorTerm, Taint, Toleration},
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};
use std::collections::BTreeMap;

/// Labels of an object.
pub type Labels = BTreeMap<String, String>;

/// One demand on one label.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Demand {
    /// The label has one of the values.
    In(Vec<String>),
    /// The label is absent or has none of the values.
    NotIn(Vec<String>),
    /// The label is there.
    Exists,
    /// The label is not there.
    Absent,
    /// The label is an integer above this.
    Above(i64),
    /// The label is an integer below this.
    Below(i64),
    /// A demand that nothing meets: its operator or value makes no sense.
    Never,
}

/// A conjunction of demands. Without demands it matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Selector {
    demands: Vec<(String, Demand)>,
    /// No selector was given: it matches nothing.
    nothing: bool,
}

impl Selector {
    /// Matches no object at all.
    pub fn nothing() -> Self {
        Self { demands: Vec::new(), nothing: true }
    }

    /// Compiles a selector; an absent one matches nothing, an empty one everything.
    pub fn compile(selector: Option<&LabelSelector>) -> Self {
        let Some(selector) = selector else { return Self::nothing() };
        let mut all = Self::equal(selector.match_labels.iter().flatten());
        for one in selector.match_expressions.iter().flatten() {
            let values = one.values.clone().unwrap_or_default();
            all.demands.push((one.key.clone(), demand(&one.operator, values)));
        }
        all
    }

    /// Matches objects that have exactly these values.
    pub fn equal<'a>(labels: impl IntoIterator<Item = (&'a String, &'a String)>) -> Self {
        let demands = labels
            .into_iter()
            .map(|(key, value)| (key.clone(), Demand::In(vec![value.clone()])))
            .collect();
        Self { demands, nothing: false }
    }

    /// Also demands what another selector demands.
    pub fn and(&mut self, other: Self) {
        self.nothing |= other.nothing;
        self.demands.extend(other.demands);
    }

    /// Whether it demands nothing (and so matches everything).
    pub fn is_empty(&self) -> bool {
        self.demands.is_empty() && !self.nothing
    }

    /// Whether an object with these labels is selected.
    pub fn matches(&self, labels: Option<&Labels>) -> bool {
        !self.nothing
            && self.demands.iter().all(|(key, demand)| {
                let value = labels.and_then(|labels| labels.get(key)).map(String::as_str);
                meets(demand, value)
            })
    }
}

/// Reads an operator of label and node selectors.
fn demand(operator: &str, values: Vec<String>) -> Demand {
    let number = || values.first().and_then(|value| value.parse().ok());
    match operator {
        "In" => Demand::In(values),
        "NotIn" => Demand::NotIn(values),
        "Exists" => Demand::Exists,
        "DoesNotExist" => Demand::Absent,
        "Gt" => number().map_or(Demand::Never, Demand::Above),
        "Lt" => number().map_or(Demand::Never, Demand::Below),
        _ => Demand::Never,
    }
}

/// Whether a label's value (or its absence) meets a demand.
fn meets(demand: &Demand, value: Option<&str>) -> bool {
    let number = || value.and_then(|value| value.parse::<i64>().ok());
    match demand {
        Demand::In(values) => value.is_some_and(|value| values.iter().any(|one| one == value)),
        Demand::NotIn(values) => value.is_none_or(|value| values.iter().all(|one| one != value)),
        Demand::Exists => value.is_some(),
        Demand::Absent => value.is_none(),
        Demand::Above(bound) => number().is_some_and(|number| number > *bound),
        Demand::Below(bound) => number().is_some_and(|number| number < *bound),
        Demand::Never => false,
    }
}

/// One alternative of a node selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeTerm {
    labels: Selector,
    names: Vec<Demand>,
}

impl NodeTerm {
    /// Compiles a term. A term without any requirement selects no node.
    pub fn compile(term: &NodeSelectorTerm) -> Self {
        let read = |one: &NodeSelectorRequirement| {
            demand(&one.operator, one.values.clone().unwrap_or_default())
        };
        let expressions = term.match_expressions.iter().flatten();
        let fields = term.match_fields.iter().flatten();
        let demands: Vec<_> = expressions.map(|one| (one.key.clone(), read(one))).collect();
        let names: Vec<_> = fields
            .map(|one| if one.key == "metadata.name" { read(one) } else { Demand::Never })
            .collect();
        let nothing = demands.is_empty() && names.is_empty();
        Self { labels: Selector { demands, nothing }, names }
    }

    /// Whether a node is selected.
    pub fn matches(&self, node: &Node) -> bool {
        let name = node.metadata.name.as_deref();
        self.labels.matches(node.metadata.labels.as_ref())
            && self.names.iter().all(|demand| meets(demand, name))
    }

    /// The only nodes that can match, when the term names them.
    pub fn names(&self) -> Option<Vec<&str>> {
        let mut named: Option<Vec<&str>> = None;
        for demand in &self.names {
            if let Demand::In(values) = demand {
                let values = values.iter().map(String::as_str);
                named = Some(match named {
                    None => values.collect(),
                    Some(before) => values.filter(|value| before.contains(value)).collect(),
                });
            }
        }
        named
    }
}

/// Whether a toleration accepts a taint.
pub fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let effect = toleration.effect.as_deref().unwrap_or("");
    let key = toleration.key.as_deref().unwrap_or("");
    if !effect.is_empty() && effect != taint.effect || !key.is_empty() && key != taint.key {
        return false;
    }
    let mine = toleration.value.as_deref().unwrap_or("");
    let its = taint.value.as_deref().unwrap_or("");
    let numbers = || Some((its.parse::<i64>().ok()?, mine.parse::<i64>().ok()?));
    match toleration.operator.as_deref().unwrap_or("") {
        "Exists" => true,
        "" | "Equal" => mine == its,
        "Gt" => numbers().is_some_and(|(its, mine)| its > mine),
        "Lt" => numbers().is_some_and(|(its, mine)| its < mine),
        _ => false,
    }
}

/// The first taint that forbids scheduling and that no toleration accepts.
pub fn untolerated<'a>(taints: &'a [Taint], tolerations: &[Toleration]) -> Option<&'a Taint> {
    taints.iter().find(|taint| {
        matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute")
            && !tolerations.iter().any(|toleration| tolerates(toleration, taint))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn an_absent_selector_matches_nothing_and_an_empty_one_everything() {
        let some = labels(&[("a", "b")]);
        assert!(!Selector::compile(None).matches(Some(&some)));
        assert!(Selector::compile(Some(&LabelSelector::default())).matches(Some(&some)));
        assert!(Selector::compile(Some(&LabelSelector::default())).matches(None));
    }

    #[test]
    fn expressions_follow_their_operators() {
        let of = |value| serde_json::from_value::<LabelSelector>(value).unwrap();
        let selector = of(json!({"matchExpressions": [
            {"key": "a", "operator": "NotIn", "values": ["x"]},
            {"key": "b", "operator": "Exists"},
            {"key": "c", "operator": "DoesNotExist"}]}));
        let selector = Selector::compile(Some(&selector));
        assert!(selector.matches(Some(&labels(&[("b", "1")]))));
        assert!(!selector.matches(Some(&labels(&[("b", "1"), ("a", "x")]))));
        assert!(!selector.matches(Some(&labels(&[("b", "1"), ("c", "")]))));
    }

    #[test]
    fn node_terms_compare_numbers_and_names() {
        let term = |value| NodeTerm::compile(&serde_json::from_value(value).unwrap());
        let node: Node =
            serde_json::from_value(json!({"metadata": {"name": "n1", "labels": {"n": "10"}}}))
                .unwrap();
        let above = term(json!({"matchExpressions": [
            {"key": "n", "operator": "Gt", "values": ["5"]}]}));
        assert!(above.matches(&node));
        let below = term(json!({"matchExpressions": [
            {"key": "n", "operator": "Lt", "values": ["10"]}]}));
        assert!(!below.matches(&node));
        let named = term(json!({"matchFields": [
            {"key": "metadata.name", "operator": "In", "values": ["n1"]}]}));
        assert!(named.matches(&node));
        assert_eq!(named.names(), Some(vec!["n1"]));
        assert!(!term(json!({})).matches(&node));
    }

    #[test]
    fn tolerations_match_key_value_and_effect() {
        let taint: Taint =
            serde_json::from_value(json!({"key": "a", "value": "b", "effect": "NoSchedule"}))
                .unwrap();
        let table = [
            (json!({"operator": "Exists"}), true),
            (json!({"key": "a", "operator": "Exists"}), true),
            (json!({"key": "a", "value": "b"}), true),
            (json!({"key": "a", "value": "c"}), false),
            (json!({"key": "a", "operator": "Exists", "effect": "NoExecute"}), false),
        ];
        for (toleration, want) in table {
            let read: Toleration = serde_json::from_value(toleration.clone()).unwrap();
            assert_eq!(tolerates(&read, &taint), want, "{toleration}");
        }
    }
}
