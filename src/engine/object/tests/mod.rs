//! Tests of whole decisions, and the cases that the tables of the rules are built from.

pub mod case;
mod scenario;
