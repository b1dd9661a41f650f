//! Brings a state into the one form that stands for all states which no rule can tell apart.
//!
//! Every moment in the state is a number of ticks and a fraction. Only two things about moments reach a rule: their order,
//! and whether two of them (or one and now) lie at least a whole number of ticks apart, since every duration that a rule
//! knows is a whole number of ticks. So the fractions are replaced by their ranks (the regions of timed automata), and gaps
//! between neighbours in time longer than the horizon are cut to it. The longest durations that a rule knows are, in ticks
//! of 5 s, with s for `settle` and 1 for `request_timeout` and `INTENT_LIFE`:
//!
//! - `INTENT_LIFE` + request_timeout + 10 × settle after another process's batch was first seen: 10 s + 2;
//! - a mark's life, 11 × settle + request_timeout: 11 s + 1;
//! - `LOOK_LIFE`: 12.
//!
//! The horizon is longer than each of them, and so is every sum that holds a cut gap: cutting hides no state. Of the moments
//! in `Memory::turning_points` only the order reaches a rule.
//!
//! What no rule and no property reads any more is dropped as well; the reason stands beside each.

use instance_deletion_controller::{
    api::InstancePhase,
    engine::{
        Mono,
        account::health::Health,
        object::{marks::Marks, surface::is_finished},
    },
};

use crate::{
    configuration::{Configuration, TICK},
    world::{CallState, Facts, Known, Step, World},
};

/// Where now lies in every canonical state, in ticks.
const BASE: u64 = 10_000;

const MICROS: u64 = TICK.as_micros() as u64;

/// Brings the state into its canonical form.
pub fn canonical(world: &mut World, configuration: &Configuration) {
    forget(world, configuration);
    let horizon = u64::from(configuration.settle * 11 + 3).max(14);
    let mut moments: Vec<u64> = Vec::with_capacity(64);
    visit(world, &mut |moment| moments.push(micros(*moment)));
    let now = micros(world.now);
    moments.push(now);
    moments.sort_unstable();
    moments.dedup();
    let mut fractions: Vec<u64> = moments.iter().map(|m| m % MICROS).collect();
    fractions.sort_unstable();
    fractions.dedup();
    // Ticks of each moment from the first one, gaps cut.
    let mut ticks = Vec::with_capacity(moments.len());
    let mut sum = 0;
    let mut before = moments.first().map_or(0, |m| m / MICROS);
    for moment in &moments {
        let tick = moment / MICROS;
        sum += (tick - before).min(horizon);
        before = tick;
        ticks.push(sum);
    }
    let index = |micros: u64| moments.binary_search(&micros).unwrap_or(0);
    let of_now = ticks.get(index(now)).copied().unwrap_or(0);
    let start = BASE + u64::from(world.wall) - of_now;
    let placed = |was: u64| {
        let tick = start + ticks.get(index(was)).copied().unwrap_or(0);
        let fraction = fractions.binary_search(&(was % MICROS)).unwrap_or(0) as u64;
        // A rank is a thousandth of a second: there are far fewer than 5,000 moments in a state.
        tick * MICROS + fraction * 1000
    };
    let mut turns = Vec::new();
    turning_points(world, &mut |moment| turns.push(micros(*moment)));
    turns.sort_unstable();
    turns.dedup();
    let place = |moment: &mut Mono| *moment = at(placed(micros(*moment)));
    turning_points(world, &mut |moment| {
        let was = micros(*moment);
        if moments.binary_search(&was).is_ok() {
            *moment = at(placed(was));
            return;
        }
        // After the moment before it, before the one that follows, and in order among its like.
        let before = moments.get(..moments.partition_point(|m| *m < was)).and_then(<[u64]>::last);
        let rank =
            turns.iter().filter(|turn| **turn < was && before.is_none_or(|before| *turn > before)).count();
        *moment = at(before.map_or(0, |before| placed(*before)) + 500 + rank as u64);
    });
    visit(world, &mut |moment| place(moment));
    place(&mut world.now);
}

fn at(micros: u64) -> Mono {
    Mono::at(std::time::Duration::from_micros(micros))
}

fn turning_points(world: &mut World, visit: &mut impl FnMut(&mut Mono)) {
    world
        .processes
        .iter_mut()
        .filter_map(|p| p.memory.as_mut())
        .for_each(|memory| memory.turning_points(visit));
}

fn micros(moment: Mono) -> u64 {
    u64::try_from(moment.since_start().as_micros()).unwrap_or(u64::MAX)
}

/// Drops what can have no effect any more.
fn forget(world: &mut World, configuration: &Configuration) {
    let World { now, object, instances, processes, facts, budget, .. } = world;
    let now = *now;
    let settle = TICK * configuration.settle;
    for instance in instances.iter_mut() {
        instance.old = instance.old.take().filter(|old| old.until.is_none_or(|until| now <= until));
    }
    for process in processes.iter_mut() {
        if process.woken {
            // It runs at once: when it would have run otherwise doesn't matter.
            process.due = None;
        }
        if let Some(memory) = &mut process.memory {
            // Further ends are written at once from twice poll_min after the last on.
            memory.ends_written = memory.ends_written.filter(|at| *at + TICK * 2 > now);
            // Only an object an hour old can be stuck.
            memory.suspended_at = None;
        }
    }
    for (position, facts) in facts.iter_mut().enumerate() {
        for known in processes.iter_mut().filter_map(|process| process.known.get_mut(position)) {
            let end = facts.end.max(known.own_end);
            if let Some(end) = end {
                // A read that rule 5 does not admit allows nothing, and a series of reads begins anew after a call.
                known.live = known.live.filter(|sent| *sent > end + settle);
                known.error = known.error.filter(|sent| *sent > end + settle);
                known.missing = known.missing.filter(|(first, _)| *first > end);
            }
            // Every read that is still kept, and every one to come, lies beyond it.
            known.own_end = known.own_end.filter(|end| now <= *end + settle);
        }
        facts.end = facts.end.filter(|end| now <= *end + settle);
    }
    let Some(object) = object else { return };
    if budget.recreations > 0 {
        return;
    }
    // No property asks about an id after its end, and nobody about the marks of an object after its own.
    for (position, row) in object.stored.status.instances.iter().enumerate() {
        if matches!(row.phase, InstancePhase::Terminated | InstancePhase::NotFound | InstancePhase::Failed)
            && let Some(facts) = facts.get_mut(position)
        {
            *facts = Facts { existed: facts.existed, ..Facts::new() };
            for process in processes.iter_mut() {
                if let Some(known) = process.known.get_mut(position) {
                    *known = Known { call: known.call, ..Known::default() };
                }
            }
        }
    }
    if is_finished(&object.stored.status) {
        for process in processes.iter_mut().filter(|p| p.memory.is_none() && matches!(p.step, Step::Idle)) {
            (process.marks, process.health) = (Marks::default(), Health::default());
            process.known.fill(Known::default());
        }
    }
}

/// Visits every moment in the state but now.
fn visit(world: &mut World, visit: &mut impl FnMut(&mut Mono)) {
    for instance in &mut world.instances {
        instance.old.iter_mut().filter_map(|old| old.until.as_mut()).for_each(&mut *visit);
    }
    for facts in &mut world.facts {
        facts.end.iter_mut().chain(facts.base.as_mut()).for_each(&mut *visit);
    }
    for write in &mut world.writes {
        write.base.iter_mut().flatten().for_each(&mut *visit);
    }
    for call in &mut world.calls {
        visit(&mut call.intent_sent);
        visit(&mut call.leave_by);
        call.ended.iter_mut().for_each(&mut *visit);
        match &mut call.state {
            CallState::Waiting => {}
            CallState::Wire { left } | CallState::Answered { left, .. } => visit(left),
        }
    }
    for process in &mut world.processes {
        if let Some(memory) = &mut process.memory {
            memory.moments(visit);
        }
        process.marks.moments(visit);
        process.health.moments(visit);
        process.due.iter_mut().for_each(&mut *visit);
        process.looks.iter_mut().filter_map(|look| look.sent.as_mut()).for_each(&mut *visit);
        for known in &mut process.known {
            let one = [&mut known.base, &mut known.error, &mut known.live, &mut known.own_end];
            one.into_iter().flatten().for_each(&mut *visit);
            if let Some((first, last)) = &mut known.missing {
                visit(first);
                visit(last);
            }
        }
        if let Step::Writing(writing) = &mut process.step {
            writing.wake.iter_mut().chain(writing.sent.as_mut()).for_each(&mut *visit);
            if let Some(wave) = &mut writing.wave {
                visit(&mut wave.look_sent);
            }
        }
    }
}
