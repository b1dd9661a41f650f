//! Writes the generated pages of `docs/reference`, and checks that the documents agree with the code and with each other.
//!
//! - [`pages`]: the generated pages, made by [`fields`] from the CRD, [`flags`] from the command line, [`permissions`] from the
//!   roles, and [`reasons`] from the lists of phases and reasons;
//! - [`documents`]: links, indexes, and the reasons that a person is told what to do about.

pub mod documents;
pub mod fields;
pub mod flags;
pub mod pages;
pub mod permissions;
pub mod plugin;
pub mod reasons;

/// A file that cannot be read or written, or an input of an unexpected shape.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// The text as it stands in a cell of a table: on one line, with its pipes escaped.
#[must_use]
pub fn cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}
