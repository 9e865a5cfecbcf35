//! Prefers nodes that already have a Pod's images, the more the bigger they are; images that are on
//! few nodes count less, so that not all Pods of an image end up on one node.

use crate::{
    event::Event,
    framework::{MAX_SCORE, Plugin, Scorer, View},
    node_info::NodeInfo,
    pod_info::PodInfo,
};

/// Images smaller than this don't matter.
const MIN: i64 = 23 * 1024 * 1024;
/// More than this per container doesn't matter either.
const MAX_PER_CONTAINER: i64 = 1000 * 1024 * 1024;

/// See the file's head.
pub struct ImageLocality;

/// Adds up the sizes of images that are there.
struct Sizes {
    /// The Pod's images, each with the share of nodes that have it.
    images: Vec<(String, f64)>,
    max: i64,
}

/// The name under which nodes list an image: with a tag.
fn normalized(image: &str) -> String {
    let path = image.rsplit('/').next().unwrap_or(image);
    if path.contains(':') || path.contains('@') {
        image.to_owned()
    } else {
        format!("{image}:latest")
    }
}

impl Plugin for ImageLocality {
    fn name(&self) -> &'static str {
        "ImageLocality"
    }

    fn weight(&self) -> i64 {
        1
    }

    #[expect(clippy::cast_precision_loss, reason = "counts of nodes are far below 2^52")]
    fn pre_score<'a>(
        &self,
        pod: &'a PodInfo,
        view: &View<'a>,
        feasible: &[&'a NodeInfo],
    ) -> Option<Box<dyn Scorer + 'a>> {
        if feasible.iter().all(|node| node.images.is_empty()) {
            return None;
        }
        let spec = pod.pod.spec.as_ref()?;
        let containers = spec.init_containers.iter().flatten().chain(&spec.containers);
        let images: Vec<_> = containers
            .filter_map(|container| container.image.as_deref())
            .map(|image| {
                let image = normalized(image);
                let share = view.nodes_with_image(&image) as f64 / view.total() as f64;
                (image, share)
            })
            .collect();
        let max = MAX_PER_CONTAINER * i64::try_from(images.len()).unwrap_or(1);
        Some(Box::new(Sizes { images, max }))
    }

    fn wakes(&self, _event: &Event, _pod: &PodInfo) -> bool {
        false
    }
}

impl Scorer for Sizes {
    #[expect(clippy::cast_precision_loss, reason = "a score needs no more than 52 bits")]
    #[expect(clippy::cast_possible_truncation, reason = "an image size times a share below 1")]
    fn score(&self, node: &NodeInfo) -> i64 {
        let present = self.images.iter().filter_map(|(image, share)| {
            let size = *node.images.get(image)?;
            Some((size as f64 * share) as i64)
        });
        let sum = present.sum::<i64>().clamp(MIN, self.max);
        MAX_SCORE * (sum - MIN) / (self.max - MIN)
    }
}
