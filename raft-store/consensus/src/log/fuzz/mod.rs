//! What lies beside the log on disk, under fuzzing; the table is in `crate::fuzz`.

pub(crate) mod acknowledged;
pub(crate) mod notes;
