//! Where credentials are good.

use serde::{Deserialize, Serialize};

/// The projects a token, an access key or a user is good for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Projects {
    /// Every project.
    All,
    /// Only these.
    Only(Vec<String>),
}

impl Projects {
    pub(crate) fn allow(&self, project: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(list) => list.iter().any(|one| one == project),
        }
    }
}
