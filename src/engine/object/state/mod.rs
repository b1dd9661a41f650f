//! State of one object: its parsed spec, its record, and what this process knows of it. No module
//! here knows a rule.

pub mod bisection;
pub mod blocker;
pub mod deadlines;
pub mod expectation;
pub mod guards;
pub mod ledger;
pub mod memory;
pub mod observations;
pub mod spec;
pub mod unreadable;
pub mod wave;
