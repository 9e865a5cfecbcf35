//! What tests share: directories that go away, and a small API server.

pub(crate) mod api;

use std::path::{Path, PathBuf};

/// A directory of one test.
pub(crate) struct Dir(PathBuf);

impl Dir {
    /// A new empty directory.
    pub(crate) fn new(name: &str) -> Self {
        let unique = uuid::Uuid::new_v4().simple().to_string();
        let dir = std::env::temp_dir().join(format!("trireme-agent-{name}-{unique}"));
        std::fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
