//! Which file of a crate imports which, read from the sources.
//!
//! [`SourceTree`] finds the files by their `mod` declarations, and the paths in them, inside macros too. [`Resolver`] says
//! in which file the item of a path is defined: it follows re-exports, so a module that only re-exports its children
//! imports nothing. [`judge`] looks for circles of files, for imports of a higher layer ([`CRATES`]), and for imports
//! between what stays apart.
//!
//! Code under `#[cfg(test)]` is left out. A method call imports nothing: only paths count.

mod judge;
mod layers;
mod resolve;
mod scan;
mod source;
mod tokens;

use std::{io, path::Path};

pub use judge::{Finding, judge};
pub use layers::{CRATES, Crate, Layer};
pub use resolve::{Import, Resolver};
pub use source::SourceTree;

/// Findings in a crate of the checkout in this folder, and the number of its files.
pub fn check(root: &Path, of: &Crate) -> io::Result<(Vec<Finding>, usize)> {
    let tree = SourceTree::read(&root.join(of.folder), of.name)?;
    let imports = Resolver::new(&tree).imports();
    Ok((judge(&tree.paths(), &imports, of), tree.files.len()))
}
