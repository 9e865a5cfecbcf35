//! Services: which Pods stand behind them.

mod backends;
pub(crate) mod endpoints;
pub(crate) mod endpointslice;
pub(crate) mod endpointslice_mirroring;
pub(crate) mod servicecidr;
mod slices;
