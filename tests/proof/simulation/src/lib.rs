//! A seeded simulation of the whole controller at its message boundaries, in virtual time.
//!
//! The real controller code runs in 1 or more processes over an API server and a cloud in memory. Every message may be
//! lost, late, refused or answered falsely, processes die and stand still, users change their minds; all of it is drawn
//! from a seed, so that the same seed gives the same run, byte for byte. kube's watch and queue are not in it: they are
//! a library, and [`process`] plays their part.
//!
//! - [`plan`]: what a seed draws before the run; [`faults`]: the kinds of faults and their rates;
//! - [`sim`]: the world; [`api_wire`] and [`cloud_wire`]: the wires to it, with [`cloud_faults`] and [`watching`];
//! - [`process`]: a process; [`machines`] and [`users`]: what is done to it and to the objects;
//! - [`record`]: what happened, [`trace`]: the same for people, [`judge`]: whether it was right; [`recorded`]: for other judges;
//! - [`run`]: one run, [`campaign`]: many; [`crash_points`]: a process that dies of each of its effects in turn.

pub mod api_wire;
pub mod campaign;
pub mod cloud_faults;
pub mod cloud_wire;
pub mod crash_points;
pub mod faults;
pub mod judge;
pub mod machines;
pub mod plan;
pub mod process;
pub mod random;
pub mod record;
pub mod recorded;
pub mod run;
pub mod sim;
pub mod trace;
pub mod users;
pub mod watching;

/// The command that replays a seed.
#[must_use]
pub fn replay(seed: u64) -> String {
    format!("cargo run --release -p simulation --bin simulate -- --seed {seed} -v")
}
