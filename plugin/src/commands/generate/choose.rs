//! Which instances are chosen, in which order, and how they are described.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet, HashSet},
    io::Read,
    path::PathBuf,
};

use clap::Args;
use instance_deletion_controller::{
    api::{Expect, Moment},
    cloud::{InventoryInstance, InventoryServer},
    engine::{instance_facts::Judged, object::state::expectation::Expectation},
};
use k8s_openapi::jiff::Timestamp;

use crate::{args::pair, failure::Failure, inventory::Servers, output::count};

/// States in which a deletion can be asked for, by the vendor's old and new names.
const DELETABLE: [&str; 5] = ["pending", "running", "stopped", "error", "failed"];
/// States of an instance that is on its way, or gone.
const ON_ITS_WAY: &str = "shutting-down";
const GONE: [&str; 2] = ["terminated", "teminated"];

/// Which instances.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Which instances")]
pub struct ChoiceArgs {
    /// Those in this rack.
    #[arg(long, value_name = "NAME")]
    pub rack: Vec<String>,

    /// Those in this machine room.
    #[arg(long, value_name = "NAME")]
    pub dc: Vec<String>,

    /// Those with this tag; repeated: with all of them.
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    pub tag: Vec<(String, String)>,

    /// Those in this VPC.
    #[arg(long, value_name = "ID")]
    pub vpc: Option<String>,

    /// Those whose whole name matches: * stands for any characters, ? for one.
    #[arg(long, value_name = "PATTERN")]
    pub name: Option<String>,

    /// Those in this state; else all that a deletion can be asked for: pending, running, stopped, error, failed.
    #[arg(long, value_name = "STATE")]
    pub state: Vec<String>,

    /// Those created before this moment, such as 2026-06-01T00:00:00Z.
    #[arg(long, value_name = "TIME")]
    pub created_before: Option<Timestamp>,

    /// Those whose ids are in this file, one a line; - is stdin.
    #[arg(long, value_name = "FILE")]
    pub id_file: Vec<PathBuf>,
}

/// What is chosen by.
#[derive(Clone, Debug)]
pub struct Choice {
    pub racks: Vec<String>,
    pub dcs: Vec<String>,
    /// Name, VPC, tags and age. They are judged as the controller judges `spec.expect`.
    pub expect: Expect,
    pub states: Vec<String>,
    pub ids: Option<Vec<String>>,
}

/// What was chosen, and a line for each kind of instance that was not.
#[derive(Debug)]
pub struct Found {
    pub chosen: Vec<InventoryInstance>,
    pub left_out: Vec<String>,
}

impl Choice {
    /// Reads the options. Without any, the choice would be the whole project.
    pub fn read(args: &ChoiceArgs) -> Result<Self, Failure> {
        let ids = if args.id_file.is_empty() { None } else { Some(ids(args)?) };
        let choice = Self {
            racks: args.rack.clone(),
            dcs: args.dc.clone(),
            expect: Expect {
                name: args.name.clone(),
                vpc_id: args.vpc.clone(),
                tags: (!args.tag.is_empty()).then(|| args.tag.iter().cloned().collect()),
                created_before: args.created_before.map(Moment),
            },
            states: args.state.clone(),
            ids,
        };
        let nothing = !choice.needs_places()
            && choice.expect == Expect::default()
            && choice.states.is_empty()
            && choice.ids.is_none();
        if nothing {
            return Err(Failure::usage(
                "which instances? give at least one of --rack, --dc, --tag, --vpc, --name, --state, --created-before and --id-file",
            ));
        }
        Ok(choice)
    }

    /// Whether it asks where servers are.
    pub fn needs_places(&self) -> bool {
        !self.racks.is_empty() || !self.dcs.is_empty()
    }

    /// Whether a server is where the choice says.
    pub fn place(&self, server: Option<&InventoryServer>) -> bool {
        let among = |wanted: &[String], is: Option<&String>| {
            wanted.is_empty() || is.is_some_and(|is| wanted.contains(is))
        };
        among(&self.racks, server.and_then(|server| server.rack.as_ref()))
            && among(&self.dcs, server.and_then(|server| server.dc.as_ref()))
    }

    /// Chooses among the rows of the cloud.
    pub fn of(&self, rows: Vec<InventoryInstance>, servers: &Servers) -> Found {
        let mut left_out = Vec::new();
        if let Some(ids) = &self.ids {
            let known: HashSet<&str> = rows.iter().map(|row| row.id.as_str()).collect();
            let unknown: Vec<&String> = ids.iter().filter(|id| !known.contains(id.as_str())).collect();
            if let Some(first) = unknown.first() {
                let n = count(unknown.len(), "id");
                left_out.push(format!("{n} of the file that the cloud does not know, such as {first}"));
            }
        }
        let (mut chosen, mut by_state) = (Vec::new(), BTreeMap::<String, usize>::new());
        let expected = Expectation::from(&self.expect);
        let is_meant = |row: &InventoryInstance| {
            self.place(server_of(row, servers)) && expected.judge(Some(&row.facts)) == Judged::Passes
        };
        for row in rows.into_iter().filter(is_meant) {
            let wanted = if self.states.is_empty() {
                DELETABLE.contains(&row.state.as_str())
            } else {
                self.states.contains(&row.state)
            };
            if wanted {
                chosen.push(row);
            } else {
                *by_state.entry(row.state).or_default() += 1;
            }
        }
        left_out.extend(by_state.into_iter().map(|(state, n)| {
            let n = count(n, "instance");
            match state.as_str() {
                ON_ITS_WAY => format!("{n} on their way already ({state})"),
                gone if GONE.contains(&gone) => format!("{n} gone already ({state})"),
                "" => format!("{n} without a readable state"),
                _ => format!("{n} in the state {state}"),
            }
        }));
        Found { chosen, left_out }
    }

    /// A short name for the object.
    pub fn name(&self) -> String {
        let mut parts = Vec::new();
        for (what, names) in [("rack", &self.racks), ("dc", &self.dcs)] {
            if !names.is_empty() {
                parts.push(format!("{what}-{}", names.join("-")));
            }
        }
        parts.extend(self.expect.tags.iter().flatten().map(|(key, value)| format!("{key}-{value}")));
        parts.extend(self.expect.name.clone());
        parts.extend(self.states.iter().cloned());
        if parts.is_empty() { "instances".to_owned() } else { parts.join("-") }
    }

    /// The choice for the first line of a manifest.
    pub fn in_words(&self) -> String {
        let mut parts = Vec::new();
        for (what, names) in [("rack", &self.racks), ("room", &self.dcs), ("state", &self.states)] {
            if !names.is_empty() {
                parts.push(format!("{what} {}", names.join(" or ")));
            }
        }
        let Expect { name, vpc_id, tags, created_before } = &self.expect;
        parts.extend(tags.iter().flatten().map(|(key, value)| format!("tag {key}={value}")));
        parts.extend(vpc_id.as_ref().map(|vpc| format!("VPC {vpc}")));
        parts.extend(name.as_ref().map(|name| format!("name {name}")));
        parts.extend(created_before.map(|Moment(before)| format!("created before {before}")));
        parts.extend(self.ids.as_ref().map(|ids| format!("{} of a file", count(ids.len(), "id"))));
        parts.join(", ")
    }
}

/// The ids of the files, each once. Empty lines and what follows a # are ignored.
fn ids(args: &ChoiceArgs) -> Result<Vec<String>, Failure> {
    let mut ids = BTreeSet::new();
    for file in &args.id_file {
        let failed = |error: std::io::Error| Failure::failed(format!("reading {}: {error}", file.display()));
        let mut text = String::new();
        if file.as_os_str() == "-" {
            std::io::stdin().read_to_string(&mut text).map_err(failed)?;
        } else {
            text = std::fs::read_to_string(file).map_err(failed)?;
        }
        for (number, line) in text.lines().enumerate() {
            let id = line.split('#').next().unwrap_or_default().trim().trim_start_matches("- ");
            if id.is_empty() {
                continue;
            }
            if instance_deletion_controller::engine::InstanceId::parse_reply(id).is_err() {
                let number = number + 1;
                return Err(Failure::failed(format!("{} line {number}: {id:?} is no UUID", file.display())));
            }
            ids.insert(id.to_owned());
        }
    }
    Ok(ids.into_iter().collect())
}

fn server_of<'a>(row: &InventoryInstance, servers: &'a Servers) -> Option<&'a InventoryServer> {
    servers.get(row.facts.server_id.as_ref()?.as_str())
}

/// Sorts by room, rack, place in the rack, name and id, numbers by their value: the next run differs where machines differ.
pub fn sort(rows: &mut [InventoryInstance], servers: &Servers) {
    rows.sort_by(|a, b| {
        let of = |row: &InventoryInstance| {
            let server = server_of(row, servers);
            let text = |field: Option<&String>| field.cloned().unwrap_or_default();
            [
                text(server.and_then(|server| server.dc.as_ref())),
                text(server.and_then(|server| server.rack.as_ref())),
                text(server.and_then(|server| server.unit.as_ref())),
                text(row.facts.name.as_ref()),
                row.id.clone(),
            ]
        };
        let pairs = of(a).into_iter().zip(of(b));
        pairs.map(|(a, b)| natural(&a, &b)).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    });
}

/// `rack-9` before `rack-10`.
fn natural(a: &str, b: &str) -> Ordering {
    let parts = |text: &str| {
        let mut parts: Vec<(u64, String)> = Vec::new();
        let mut digits = String::new();
        for c in text.chars() {
            if c.is_ascii_digit() && digits.len() < 18 {
                digits.push(c);
            } else {
                if let Ok(number) = digits.parse() {
                    parts.push((number, String::new()));
                }
                digits.clear();
                parts.push((u64::MAX, c.to_string()));
            }
        }
        if let Ok(number) = digits.parse() {
            parts.push((number, String::new()));
        }
        parts
    };
    parts(a).cmp(&parts(b)).then_with(|| a.cmp(b))
}

/// Which machine it is: name, rack and place, address, state.
pub fn comment(row: &InventoryInstance, servers: &Servers) -> String {
    let server = server_of(row, servers);
    let mut parts = vec![row.facts.name.clone().unwrap_or_else(|| "without a name".to_owned())];
    if let Some(rack) = server.and_then(|server| server.rack.as_ref()) {
        let unit = server.and_then(|server| server.unit.as_ref()).map(|unit| format!(" unit {unit}"));
        parts.push(format!("rack {rack}{}", unit.unwrap_or_default()));
    }
    parts.extend(row.address.clone());
    parts.push(row.state.clone());
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use instance_deletion_controller::engine::instance_facts::InstanceFacts;

    use super::*;

    #[test]
    fn numbers_in_names_sort_by_their_value() {
        let mut names = ["10", "9", "rack-10", "rack-9", "a", ""];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(names, ["", "9", "10", "a", "rack-9", "rack-10"]);
    }

    #[test]
    fn what_is_left_out_is_said_with_its_reason() {
        let choice = Choice {
            racks: Vec::new(),
            dcs: Vec::new(),
            expect: Expect {
                tags: Some(BTreeMap::from([("env".to_owned(), "staging".to_owned())])),
                ..Expect::default()
            },
            states: Vec::new(),
            ids: None,
        };
        let row = |id: &str, state: &str, env: &str| InventoryInstance {
            id: id.to_owned(),
            state: state.to_owned(),
            facts: InstanceFacts {
                tags: Some(BTreeMap::from([("env".to_owned(), env.to_owned())])),
                ..InstanceFacts::default()
            },
            ..InventoryInstance::default()
        };
        let rows = vec![
            row("a", "running", "staging"),
            row("b", "shutting-down", "staging"),
            row("c", "terminated", "staging"),
            row("d", "reinstalling", "staging"),
            row("e", "running", "production"),
            InventoryInstance {
                id: "f".to_owned(),
                state: "running".to_owned(),
                ..InventoryInstance::default()
            },
        ];
        let found = choice.of(rows, &Servers::new());
        assert_eq!(found.chosen.iter().map(|row| row.id.as_str()).collect::<Vec<_>>(), ["a"]);
        assert_eq!(
            found.left_out,
            [
                "1 instance in the state reinstalling",
                "1 instance on their way already (shutting-down)",
                "1 instance gone already (terminated)",
            ]
        );
    }
}
