//! The controller as a process, against a real kube-apiserver and a simulated CloudDC.
//!
//! Tests judge by the cloud's log and by the API server's answers, never by what the controller says.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod admission;
mod admission_policy;
mod annotations;
mod api_cost;
mod api_faults;
mod bulk_reads;
mod check;
mod checks;
mod cloud_faults;
mod cloud_front;
mod confidentiality;
mod configuration;
mod control_plane_changes;
mod control_plane_outage;
mod crash;
mod credential_kinds;
mod credentials;
mod deletion;
mod docs;
mod editing;
mod fake_api_server;
mod faults;
mod further_faults;
mod gateway;
mod guard_schema;
mod hostile_replies;
mod install;
mod large_lists;
mod leader;
mod limits;
mod listening;
mod many_objects;
mod metrics;
mod outage;
mod power_off;
mod process;
mod prometheus;
mod proxy;
mod refusals;
mod roles;
mod schedule;
mod shards;
mod start;
mod support;
mod throttling;
mod tls;
mod two_controllers;
mod unreadable;
mod user_roles;
mod users;
mod watch_faults;
