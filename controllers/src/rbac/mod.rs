//! Access rules that are made from others.

pub(crate) mod clusterrole_aggregation;
