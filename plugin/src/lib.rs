//! The terminal side of the controller: a kubectl plugin for the person who retires machines.
//!
//! It reads and writes `InstanceDeletion` objects and only reads the cloud. What it holds of the cloud, an
//! [`Inventory`](instance_deletion_controller::cloud::Inventory), has no call that changes anything there. It never writes a status.
//!
//! From the highest to the lowest; none imports one above it:
//!
//! - [`cli`]: the command line, and which command is carried out;
//! - [`commands`]: one module for each command;
//! - [`targets`], [`inventory`]: which objects are meant, the cloud;
//! - [`cluster`], [`manifest`], [`output`], [`ownership`], [`progress`]: what commands share;
//! - [`args`], [`failure`], [`table`]: what these share.

pub mod args;
pub mod cli;
pub mod cluster;
pub mod commands;
pub mod failure;
pub mod inventory;
pub mod manifest;
pub mod output;
pub mod ownership;
pub mod progress;
pub mod table;
pub mod targets;

pub use self::{
    cli::{Cli, command},
    failure::{Exit, Failure},
};
