//! Volumes of a zone or region are used only there.

use crate::{
    event::Event,
    framework::{Plugin, PreFilter, Verdict, View},
    node_info::NodeInfo,
    pod_info::PodInfo,
    volumes::Claims,
};

/// Labels of volumes and nodes, each with its older name.
const LABELS: [(&str, &str); 2] = [
    ("topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone"),
    ("topology.kubernetes.io/region", "failure-domain.beta.kubernetes.io/region"),
];
/// Stands between the values of a volume that is in several zones.
const BETWEEN: &str = "__";

/// See the file's head.
pub struct VolumeZone;

/// A label of a volume: its names, and the values that a node may have.
type Wanted = (&'static str, &'static str, Vec<String>);

fn wanted(claims: &Claims) -> Vec<Wanted> {
    let volumes = claims.bound.iter().filter_map(|(_, volume)| volume.as_ref());
    let labels = volumes.filter_map(|volume| volume.metadata.labels.as_ref());
    labels
        .flat_map(|labels| {
            LABELS.into_iter().flat_map(move |(new, old)| {
                let values = [labels.get(new), labels.get(old)].into_iter().flatten();
                values.map(move |text| (new, old, text.split(BETWEEN).map(str::to_owned).collect()))
            })
        })
        .collect()
}

/// Whether a node has a zone or region at all.
fn is_somewhere(node: &NodeInfo) -> bool {
    LABELS.iter().any(|(new, old)| node.label(new).or_else(|| node.label(old)).is_some())
}

impl Plugin for VolumeZone {
    fn name(&self) -> &'static str {
        "VolumeZone"
    }

    fn pre_filter<'a>(&self, pod: &'a PodInfo, view: &View<'a>) -> PreFilter<'a> {
        if pod.claims.is_empty() {
            return PreFilter::Skip;
        }
        let Ok(claims) = Claims::look_up(pod, view.volumes) else { return PreFilter::Skip };
        let wanted = wanted(&claims);
        if wanted.is_empty() {
            return PreFilter::Skip;
        }
        PreFilter::Check(Box::new(move |node: &NodeInfo| {
            let is_in = |(new, old, values): &Wanted| {
                let place = node.label(new).or_else(|| node.label(old));
                place.is_some_and(|place| values.iter().any(|value| value == place))
            };
            if !is_somewhere(node) || wanted.iter().all(is_in) {
                Verdict::Pass
            } else {
                Verdict::unresolvable("node(s) had no available volume zone")
            }
        }))
    }

    fn wakes(&self, event: &Event, _pod: &PodInfo) -> bool {
        matches!(event, Event::StorageChanged) || event.moves_topology()
    }
}
