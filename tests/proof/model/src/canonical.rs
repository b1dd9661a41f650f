//! Brings a state into the one form that stands for all states which no rule can tell apart.
//!
//! Every moment in the state is a number of ticks and a fraction that tells the order of events within a tick. Of two
//! moments (or one and now) rules ask only for their order, and whether they lie more than some duration apart. How many
//! ticks lie between them answers both, with the order of their fractions where the duration is a whole number of ticks. So
//! the fractions are replaced by their ranks (the regions of timed automata), and gaps between neighbours in time longer
//! than the horizon are cut to it. The longest durations that a rule knows are, with s for `settle` = `request_timeout`:
//!
//! - `INTENT_LIFE` + request_timeout + 10 × settle after another process's batch was first seen: 11 s + 5 seconds;
//! - a mark's life, 11 × settle + request_timeout: 12 s;
//! - `LOOK_LIFE`: 60 seconds;
//! - a soak.
//!
//! The horizon is longer than each of them, and so is every sum that holds a cut gap: cutting hides no state. Of the moments
//! in `Memory::turning_points` only the order reaches a rule.
//!
//! What no rule and no property reads any more is dropped as well; the reason stands beside each.

use engine_purity::{
    api::InstancePhase,
    engine::{
        Mono,
        account::{call_history::CallHistory, outage::AccountCalls},
        object::report::status::is_finished,
    },
};

use crate::{
    configuration::Configuration,
    facts::{Facts, Known},
    world::{CallState, Guard, Process, Step, World},
};

/// Where now lies in every canonical state, in ticks.
const BASE: u64 = 10_000;

/// Brings the state into its canonical form.
pub fn canonical(world: &mut World, configuration: &Configuration) {
    forget(world);
    let micros_of_tick = u64::from(configuration.tick) * 1_000_000;
    let soak = u32::from(configuration.soak().unwrap_or(0)) * configuration.tick;
    let longest = (configuration.settle * 12 + 5).max(60).max(soak);
    let horizon = u64::from(longest / configuration.tick + 2);
    let now = micros(world.now);
    // A moment that lies ahead, by no whole number of ticks from any event, is past as soon as its tick is over.
    visit(world, &mut |moment| {
        let ahead = micros(*moment);
        if ahead > now && ahead % micros_of_tick > now % micros_of_tick {
            *moment = at((ahead / micros_of_tick + 1) * micros_of_tick);
        }
    });
    let mut moments: Vec<u64> = Vec::with_capacity(64);
    visit(world, &mut |moment| moments.push(micros(*moment)));
    moments.push(now);
    moments.sort_unstable();
    moments.dedup();
    let mut fractions: Vec<u64> = moments.iter().map(|m| m % micros_of_tick).collect();
    fractions.sort_unstable();
    fractions.dedup();
    // Ticks of each moment from the first one, gaps cut.
    let mut ticks = Vec::with_capacity(moments.len());
    let mut sum = 0;
    let mut before = moments.first().map_or(0, |m| m / micros_of_tick);
    for moment in &moments {
        let tick = moment / micros_of_tick;
        sum += (tick - before).min(horizon);
        before = tick;
        ticks.push(sum);
    }
    let index = |micros: u64| moments.binary_search(&micros).unwrap_or(0);
    let of_now = ticks.get(index(now)).copied().unwrap_or(0);
    let start = BASE + u64::from(world.wall) - of_now;
    let placed = |was: u64| {
        let tick = start + ticks.get(index(was)).copied().unwrap_or(0);
        let fraction = fractions.binary_search(&(was % micros_of_tick)).unwrap_or(0) as u64;
        // A rank is a thousandth of a second: there are far fewer than 5,000 moments in a state.
        tick * micros_of_tick + fraction * 1000
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
    for process in &mut world.processes {
        process.closed_at.iter_mut().for_each(&mut *visit);
        process.known.iter_mut().filter_map(|known| known.off.as_mut()).for_each(&mut *visit);
        if let Some(memory) = &mut process.memory {
            memory.turning_points(visit);
        }
    }
}

fn micros(moment: Mono) -> u64 {
    u64::try_from(moment.since_start().as_micros()).unwrap_or(u64::MAX)
}

/// Drops what can have no effect any more.
fn forget(world: &mut World) {
    let World { now, object, instances, processes, facts, budget, writes, .. } = world;
    let now = *now;
    // Nobody waits for its answer, and it can't be stored.
    writes.retain(|write| write.owner.is_some() || write.fresh);
    for instance in instances.iter_mut() {
        instance.old = instance.old.take().filter(|old| old.until.is_none_or(|until| now <= until));
    }
    for process in processes.iter_mut() {
        process.look_at = process.look_at.filter(|at| *at > now);
        if process.woken {
            // It runs at once: when it would have run otherwise doesn't matter.
            process.due = None;
        }
        if let Some(memory) = &mut process.memory {
            // Once it is due, it doesn't matter since when.
            memory.next_poll = memory.next_poll.max(now);
            // Further ends are written at once from twice poll_min after the last on.
            memory.ends_written =
                memory.ends_written.filter(|at| *at + std::time::Duration::from_secs(10) > now);
            // Only an object an hour old can be stuck.
            memory.suspended_at = None;
        }
    }
    forget_reads(now, facts, processes);
    let Some(object) = object else { return };
    let busy = processes.iter().any(|process| !matches!(process.step, Step::Idle)) || !writes.is_empty();
    if budget.recreations > 0 || busy {
        return;
    }
    // No property asks about an id after its end, and nobody about the marks of an object after its own.
    for (position, row) in object.stored.status.instances.iter().enumerate() {
        if matches!(row.phase, InstancePhase::Terminated | InstancePhase::NotFound | InstancePhase::Failed)
            && let Some(facts) = facts.get_mut(position)
        {
            *facts = Facts { existed: facts.existed, ..Facts::default() };
            for process in processes.iter_mut() {
                if let Some(known) = process.known.get_mut(position) {
                    let Known { call, kind, first_server, .. } = *known;
                    *known = Known { call, kind, first_server, ..Known::default() };
                }
            }
        }
    }
    if is_finished(&object.stored.status) {
        for process in processes.iter_mut().filter(|p| p.memory.is_none() && matches!(p.step, Step::Idle)) {
            (process.call_history, process.account_calls) = (CallHistory::default(), AccountCalls::default());
            process.known.fill(Known::default());
        }
    }
}

/// Drops reads that allow nothing, and the moments that all others lie beyond.
fn forget_reads(now: Mono, facts: &mut [Facts], processes: &mut [Process]) {
    for (position, facts) in facts.iter_mut().enumerate() {
        let looks = processes.iter().flat_map(|process| &process.looks);
        let on_its_way = looks.filter(|look| look.ids.contains(&position)).filter_map(|look| look.sent).min();
        let to_come = |from: Mono| now <= from || on_its_way.is_some_and(|sent| sent <= from);
        let mut off_settled_asked = false;
        for known in processes.iter_mut().filter_map(|process| process.known.get_mut(position)) {
            // A read that is too early to allow a repeat allows nothing, and a series of reads begins anew after a call.
            let from = facts.settled.max(known.own_settled).max(known.own_off_end);
            let admitted = |sent: &Mono| from.is_none_or(|from| *sent > from);
            known.live = known.live.filter(|alive| admitted(&alive.sent));
            // Only the newest read matters.
            known.going = known.going.filter(|going| known.live_sent().is_none_or(|live| *going > live));
            known.error = known.error.filter(admitted);
            known.missing = known.missing.filter(|(first, _)| facts.end.is_none_or(|end| *first > end));
            // Every read that is still kept, and every one to come, lies beyond it.
            known.own_settled = known.own_settled.filter(|from| to_come(*from));
            known.own_off_end = known.own_off_end.filter(|from| to_come(*from));
            // A read that is kept may lie before the moment from which on it shows that the instance still runs.
            let asked = |from: &Mono| to_come(*from) || known.live_sent().is_some_and(|sent| sent <= *from);
            off_settled_asked |= facts.off_settled.as_ref().is_some_and(asked);
            known.own_off_settled = known.own_off_settled.filter(asked);
        }
        facts.end = facts.end.filter(|end| to_come(*end));
        facts.settled = facts.settled.filter(|from| to_come(*from));
        facts.off_settled = facts.off_settled.filter(|_| off_settled_asked);
    }
}

/// Visits every moment in the state but now.
fn visit(world: &mut World, visit: &mut impl FnMut(&mut Mono)) {
    for instance in &mut world.instances {
        instance.old.iter_mut().filter_map(|old| old.until.as_mut()).for_each(&mut *visit);
    }
    let Guard { held, protected } = &mut world.guard;
    held.iter_mut().chain(protected.iter_mut().flatten()).for_each(&mut *visit);
    world.foreign.iter_mut().for_each(|foreign| visit(&mut foreign.since));
    for facts in &mut world.facts {
        let Facts { end, settled, off_settled, off_accepted, base, .. } = facts;
        [end, settled, off_settled, off_accepted, base].into_iter().flatten().for_each(&mut *visit);
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
        process.call_history.moments(visit);
        process.account_calls.moments(visit);
        process.due.iter_mut().chain(process.look_at.as_mut()).for_each(&mut *visit);
        process.looks.iter_mut().filter_map(|look| look.sent.as_mut()).for_each(&mut *visit);
        for known in &mut process.known {
            let Known { base, error, live, going, own_settled, own_off_settled, own_off_end, .. } = known;
            let one = [base, error, going, own_settled, own_off_settled, own_off_end];
            one.into_iter().flatten().for_each(&mut *visit);
            if let Some(alive) = live {
                visit(&mut alive.sent);
            }
            if let Some((first, last)) = &mut known.missing {
                visit(first);
                visit(last);
            }
        }
        if let Step::Writing(writing) = &mut process.step {
            writing.wake.iter_mut().chain(writing.sent.as_mut()).for_each(&mut *visit);
            if let Some(wave) = &mut writing.wave {
                visit(&mut wave.look_sent);
                visit(&mut wave.guards_read);
            }
        }
    }
}
