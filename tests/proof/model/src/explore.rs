//! The search over every state, breadth first for the shortest trace to a violation, and property L1 from every state.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    fmt::Write as _,
    hash::{BuildHasherDefault, Hasher},
    time::{Duration, Instant},
};

use engine_purity::engine::object::report::status::is_finished;

use crate::{Model, digest::digest, judge::Violation, world::World};

/// The most steps in which an object must end once nothing fails any more (property L1).
const PATIENCE: usize = 3_000;

/// The result of a search.
#[derive(Clone, Debug)]
pub struct Report {
    /// The configuration's name.
    pub name: &'static str,
    /// Its bounds, in words.
    pub bounds: String,
    /// States.
    pub states: usize,
    /// Transitions.
    pub transitions: usize,
    /// Steps to the farthest state.
    pub depth: usize,
    /// Most steps that an object took to its end once nothing failed any more.
    pub longest_end: usize,
    /// How long it took.
    pub took: Duration,
    /// Whether every state was explored.
    pub complete: bool,
    /// The first violation, with the steps that lead to it.
    pub found: Option<(Violation, Vec<String>)>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, bounds, states, transitions, depth, took, longest_end, complete, found } = self;
        write!(
            f,
            "model: {name}: {states} states, {transitions} transitions, depth {depth}, {:.1} s; end within {longest_end} steps; bounds: {bounds}",
            took.as_secs_f64()
        )?;
        if let Some((Violation { property, detail }, trace)) = found {
            write!(f, "\nmodel: {name}: VIOLATION of {property}: {detail}")?;
            for (number, step) in trace.iter().enumerate() {
                write!(f, "\n{:4}  {step}", number + 1)?;
            }
        } else if !complete {
            f.write_str(" — NOT COMPLETE, stopped at its limit of states")?;
        }
        Ok(())
    }
}

/// Uses the digests as hashes: they are uniformly distributed.
#[derive(Default)]
struct Folded(u64);

impl Hasher for Folded {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u128(&mut self, value: u128) {
        #[allow(clippy::cast_possible_truncation, reason = "half of a digest is enough to find its place")]
        let low = value as u64;
        self.0 = low;
    }
}

type ByDigest = BuildHasherDefault<Folded>;

/// How a state was reached first.
#[derive(Clone, Copy)]
struct Origin {
    parent: u32,
    /// Which of the parent's actions.
    action: u16,
}

/// A search.
pub struct Search<'a> {
    model: &'a Model,
    known: HashMap<u128, u32, ByDigest>,
    origins: Vec<Origin>,
    ending: HashSet<u128, ByDigest>,
    longest_end: usize,
    /// How many states are expanded before newly found ones. With all of them the search is breadth first.
    at_once: usize,
}

impl<'a> Search<'a> {
    /// A search of this model.
    #[must_use]
    pub fn new(model: &'a Model) -> Self {
        Self {
            model,
            known: HashMap::default(),
            origins: Vec::new(),
            ending: HashSet::default(),
            longest_end: 0,
            at_once: usize::MAX,
        }
    }

    /// Expands the newest `n` states before older ones. Such a search keeps fewer whole states, and its traces are not the
    /// shortest ones.
    #[must_use]
    pub fn newest_first(self, at_once: usize) -> Self {
        Self { at_once: at_once.max(1), ..self }
    }

    /// Explores all states, up to `limit` states, or up to the first violation. It reports to `progress` from time to time how
    /// many states wait to be expanded, and how many are known.
    pub fn run(mut self, limit: usize, mut progress: impl FnMut(usize, usize)) -> Report {
        let begun = Instant::now();
        let start = self.model.start();
        self.known.insert(digest(&start), 0);
        self.origins.push(Origin { parent: 0, action: 0 });
        let mut waiting = vec![(start, 0_u32)];
        let mut transitions = 0;
        let mut found = None;
        'search: while !waiting.is_empty() && self.origins.len() < limit {
            progress(waiting.len(), self.origins.len());
            let newest = waiting.split_off(waiting.len().saturating_sub(self.at_once));
            for (world, index) in newest {
                if self.model.configuration.liveness
                    && let Err((violation, mut steps)) = self.ends(&world)
                {
                    let mut trace = self.trace(index);
                    trace.append(&mut steps);
                    found = Some((violation, trace));
                    break 'search;
                }
                for (number, action) in self.model.actions(&world).into_iter().enumerate() {
                    transitions += 1;
                    let mut judge = self.model.judge();
                    let after = self.model.apply(&world, action, &mut judge);
                    if let Some(violation) = judge.violations.into_iter().next() {
                        let mut trace = self.trace(index);
                        trace.push(format!("{action:?}"));
                        found = Some((violation, trace));
                        break 'search;
                    }
                    let fresh = u32::try_from(self.origins.len()).unwrap_or(u32::MAX);
                    if let std::collections::hash_map::Entry::Vacant(entry) = self.known.entry(digest(&after))
                    {
                        entry.insert(fresh);
                        let action = u16::try_from(number).unwrap_or(u16::MAX);
                        self.origins.push(Origin { parent: index, action });
                        waiting.push((after, fresh));
                    }
                }
            }
        }
        Report {
            name: self.model.configuration.name,
            bounds: self.model.configuration.to_string(),
            states: self.origins.len(),
            transitions,
            depth: self.depth(),
            longest_end: self.longest_end,
            took: begun.elapsed(),
            complete: waiting.is_empty() && found.is_none(),
            found,
        }
    }

    /// Steps to the farthest state, as each was reached first.
    fn depth(&self) -> usize {
        let mut depths: Vec<u32> = Vec::with_capacity(self.origins.len());
        for origin in &self.origins {
            // A parent comes before its children. The first state is its own parent.
            let depth = depths.get(origin.parent as usize).map_or(0, |parent| parent + 1);
            depths.push(depth);
        }
        depths.into_iter().max().unwrap_or(0) as usize
    }

    /// The steps to a state, with the state after each.
    fn trace(&self, index: u32) -> Vec<String> {
        let mut numbers = Vec::new();
        let mut at = index;
        while at != 0 {
            let Some(origin) = self.origins.get(at as usize) else { break };
            numbers.push(origin.action);
            at = origin.parent;
        }
        let mut world = self.model.start();
        let mut steps = Vec::new();
        for number in numbers.into_iter().rev() {
            let Some(action) = self.model.actions(&world).into_iter().nth(usize::from(number)) else { break };
            world = self.model.apply(&world, action, &mut self.model.judge());
            steps.push(format!("{action:?}{}", Self::in_short(&world)));
        }
        steps
    }

    fn in_short(world: &World) -> String {
        let mut text = String::from("  [");
        for instance in &world.instances {
            let _ = write!(text, " {}", instance.state);
            text.push_str(if instance.powering_off { " (going off)" } else { "" });
        }
        for foreign in &world.foreign {
            let _ = write!(text, ", another on server {}", foreign.server);
        }
        if world.wall > 0 {
            let _ = write!(text, ", tick {}", world.wall);
        }
        if let Some(object) = &world.object {
            text.push_str(" |");
            for row in &object.stored.status.instances {
                let _ = write!(text, " {:?}", row.phase);
                if let Some(batch) = row.batch {
                    let _ = write!(text, "/{batch}");
                }
            }
        }
        text.push_str(" ]");
        text
    }

    /// L1: once nothing fails any more the object reaches its end.
    fn ends(&mut self, world: &World) -> Result<(), (Violation, Vec<String>)> {
        let mut path = vec![digest(world)];
        let mut steps = Vec::new();
        let mut at = world.clone();
        while steps.len() < PATIENCE {
            if path.last().is_some_and(|last| self.ending.contains(last)) || Self::ended(&at) {
                self.longest_end = self.longest_end.max(steps.len());
                self.ending.extend(path);
                return Ok(());
            }
            let Some(action) = self.model.fair(&at) else { break };
            let mut judge = self.model.judge();
            at = self.model.apply(&at, action, &mut judge);
            steps.push(format!("fair: {action:?}{}", Self::in_short(&at)));
            if let Some(violation) = judge.violations.into_iter().next() {
                return Err((violation, steps));
            }
            path.push(digest(&at));
        }
        let detail = format!("no end after {} steps without a fault", steps.len());
        steps.truncate(80);
        Err((Violation { property: "L1", detail }, steps))
    }

    fn ended(world: &World) -> bool {
        world.object.as_ref().is_some_and(|object| is_finished(&object.stored.status))
    }
}
