//! Label selectors, compiled once and matched many times.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use std::collections::BTreeMap;

/// Labels of an object.
pub(crate) type Labels = BTreeMap<String, String>;

/// One demand on one label.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Demand {
    /// Has one of the values.
    In(Vec<String>),
    /// Is absent or has none of the values.
    NotIn(Vec<String>),
    /// Is there.
    Exists,
    /// Is not there.
    Absent,
    /// Can't be met: the operator makes no sense.
    Never,
}

/// A conjunction of demands. Without demands it matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Selector {
    demands: Vec<(String, Demand)>,
    /// Matches no object at all.
    nothing: bool,
}

impl Selector {
    /// Compiles a selector; an absent one matches nothing, an empty one everything.
    pub(crate) fn compile(selector: Option<&LabelSelector>) -> Self {
        let Some(selector) = selector else { return Self { demands: Vec::new(), nothing: true } };
        let mut all = Self::equal(selector.match_labels.as_ref());
        for one in selector.match_expressions.iter().flatten() {
            let values = one.values.clone().unwrap_or_default();
            let demand = match one.operator.as_str() {
                "In" => Demand::In(values),
                "NotIn" => Demand::NotIn(values),
                "Exists" => Demand::Exists,
                "DoesNotExist" => Demand::Absent,
                _ => Demand::Never,
            };
            all.demands.push((one.key.clone(), demand));
        }
        all
    }

    /// Matches objects that have exactly these values.
    pub(crate) fn equal(labels: Option<&Labels>) -> Self {
        let of = |(key, value): (&String, &String)| (key.clone(), Demand::In(vec![value.clone()]));
        Self { demands: labels.into_iter().flatten().map(of).collect(), nothing: false }
    }

    /// Whether it demands nothing (and so matches everything).
    pub(crate) fn is_everything(&self) -> bool {
        self.demands.is_empty() && !self.nothing
    }

    /// Whether an object with these labels is selected.
    pub(crate) fn matches(&self, labels: Option<&Labels>) -> bool {
        !self.nothing
            && self.demands.iter().all(|(key, demand)| {
                let value = labels.and_then(|labels| labels.get(key));
                match demand {
                    Demand::In(values) => value.is_some_and(|value| values.contains(value)),
                    Demand::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
                    Demand::Exists => value.is_some(),
                    Demand::Absent => value.is_none(),
                    Demand::Never => false,
                }
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn demands_are_a_conjunction() {
        let labels: Labels = [("a".to_owned(), "1".to_owned())].into();
        let of = |value| serde_json::from_value::<LabelSelector>(value).expect("a selector");
        let matches = |value| Selector::compile(Some(&of(value))).matches(Some(&labels));
        assert!(matches(json!({})));
        assert!(matches(json!({"matchLabels": {"a": "1"}})));
        assert!(!matches(json!({"matchLabels": {"a": "1", "b": "2"}})));
        assert!(matches(json!({"matchExpressions": [{"key": "b", "operator": "DoesNotExist"}]})));
        assert!(!matches(json!({"matchExpressions": [
            {"key": "a", "operator": "NotIn", "values": ["1"]}]})));
        assert!(!Selector::compile(None).matches(Some(&labels)));
    }
}
