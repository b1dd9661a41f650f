//! The account's schedule alone, in virtual time: how many reads it makes, and how late it sees ends.

pub mod fleets;
pub mod random;
pub mod run;
pub mod summary;
