//! The directories that the config assigns, for those who follow a path that an agent wrote.

use super::volume_path::VolumePath;
use std::fmt;

/// The directories that the config assigns.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Assigned {
    /// The enrolled paths.
    pub repos: Vec<VolumePath>,
    /// The state directory and the caches.
    pub others: Vec<VolumePath>,
}

/// Each repo has the same, so it says nothing about one.
impl fmt::Debug for Assigned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Assigned")
    }
}
