//! The terminal side of the controller: a kubectl plugin for the person who retires machines.
//!
//! It reads and writes `InstanceDeletion` objects and only reads the cloud. What it holds of the cloud, an
//! [`Inventory`](instance_deletion_controller::cloud::Inventory), has no call that changes anything there. It never writes a status.
//!
//! - [`cli`]: the command line;
//! - [`commands`]: one module for each command;
//! - [`cluster`], [`targets`], [`inventory`]: the API server, which objects are meant, the cloud;
//! - [`manifest`], [`table`], [`ownership`], [`progress`]: what commands share.

pub mod cli;
pub mod cluster;
pub mod commands;
pub mod failure;
pub mod inventory;
pub mod manifest;
pub mod ownership;
pub mod progress;
pub mod table;
pub mod targets;

pub use self::{
    cli::{Cli, command},
    commands::run,
    failure::{Exit, Failure},
};
