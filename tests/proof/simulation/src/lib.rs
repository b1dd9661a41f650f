//! A seeded simulation of the whole controller at its message boundaries, in virtual time.
//!
//! The real controller code runs in one or more processes, with an API server and a cloud in memory. Messages are lost, late,
//! refused or answered falsely; processes die and stand still; users change their minds. A seed decides all of it: the same
//! seed gives the same run, byte for byte. kube's watch and queue are not part of it: [`process`] stands in for them.
//!
//! - [`plan`]: what a seed draws before the run; [`faults`]: the kinds of faults and their rates;
//! - [`sim`]: the world; [`api_wire`] and [`cloud_wire`]: the wires to it, with [`cloud_faults`] and [`watching`];
//! - [`process`]: a process; [`machines`] and [`users`]: what happens to processes and to objects;
//! - [`record`]: what happened; [`trace`]: the same as text; [`judge`]: whether it was right; [`recorded`]: versions for other
//!   judges;
//! - [`weeks`]: weeks without faults;
//! - [`run`]: one run; [`campaign`]: many; [`crash_points`]: runs in which a process dies after each of its effects in turn.

pub mod api_wire;
pub mod campaign;
pub mod cloud_faults;
pub mod cloud_wire;
pub mod crash_points;
pub mod faults;
pub mod guards;
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
pub mod weeks;

/// The command that replays a seed.
#[must_use]
pub fn replay(seed: u64) -> String {
    format!("cargo run --release -p simulation --bin simulate -- --seed {seed} -v")
}
