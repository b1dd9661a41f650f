//! One run: objects whose instances end, a cloud that answers reads, and the schedule.

use std::{collections::BTreeMap, time::Duration};

use engine_purity::engine::{
    InstanceId, Mono, Settings,
    account::schedule::{OnItsWay, Schedule, Watch},
    settings::READ_SIZE,
};

use crate::random::{Distribution, Random};

/// What is deleted.
#[derive(Clone, Copy, Debug)]
pub struct Fleet {
    /// Objects.
    pub objects: usize,
    /// Instances of each.
    pub instances: usize,
    /// How long their deletions take.
    pub ends: Distribution,
    /// The time between the acceptance of two objects' instances.
    pub apart: Duration,
}

/// What a run came to.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Reads, of up to 100 instances each.
    pub reads: f64,
    /// The least that any program needs: each end is seen by a read.
    pub least: f64,
    /// For each object: when its end was seen, over when it came, both since its acceptance.
    pub ratios: Vec<f64>,
    /// The mean time, in seconds, from an instance's end to the answer that shows it.
    pub late: f64,
}

impl Figures {
    /// The mean of [`Self::ratios`].
    #[must_use]
    pub fn mean_ratio(&self) -> f64 {
        self.ratios.iter().sum::<f64>() / count(self.ratios.len())
    }

    /// The largest of them.
    #[must_use]
    pub fn worst_ratio(&self) -> f64 {
        self.ratios.iter().copied().fold(0.0, f64::max)
    }
}

fn count(n: usize) -> f64 {
    f64::from(u32::try_from(n).unwrap_or(u32::MAX))
}

/// Time over which the instances of an object are accepted.
const ACCEPTANCE: Duration = Duration::from_secs(3);
/// Time from a read to its answer.
const LATENCY: Duration = Duration::from_millis(300);
/// The least time between two reads: the default of `--read-rate`.
const BETWEEN_READS: Duration = Duration::from_millis(100);

struct Instance {
    accepted: Mono,
    end: Mono,
    seen: Option<Mono>,
}

/// An answer that is on its way.
struct Answer {
    sent: Mono,
    ids: Vec<(usize, InstanceId)>,
}

/// Runs the schedule until every end is seen.
///
/// # Panics
/// If the schedule says again and again that something is due, and gives nothing to look at.
#[must_use]
pub fn run(fleet: &Fleet, settings: &Settings, seed: u64) -> Figures {
    let mut random = Random::new(seed);
    let mut objects: Vec<BTreeMap<InstanceId, Instance>> = Vec::new();
    for object in 0..fleet.objects {
        let start = Mono::START + fleet.apart * u32::try_from(object).unwrap_or(u32::MAX);
        let instance = |place: usize| {
            let id = InstanceId::from_u128((object * fleet.instances + place) as u128);
            let accepted = start + ACCEPTANCE.mul_f64(random.share());
            let end = accepted + fleet.ends.draw(&mut random);
            (id, Instance { accepted, end, seen: None })
        };
        objects.push((0..fleet.instances).map(instance).collect());
    }
    let mut schedule = Schedule::new(settings);
    let mut to_come: Vec<usize> = (0..fleet.objects).rev().collect();
    let mut answers: BTreeMap<(Mono, u64), Answer> = BTreeMap::new();
    let (mut sent_last, mut reads, mut idle) = (Mono::START, 0_u64, 0);
    loop {
        let came = to_come
            .last()
            .map(|object| objects[*object].values().map(|one| one.accepted).max().unwrap_or(Mono::START));
        let answered = answers.keys().next().map(|(at, _)| *at);
        let Some(now) = [came, answered, schedule.next()].into_iter().flatten().min() else { break };
        if came == Some(now) {
            if let Some(object) = to_come.pop() {
                watch(&mut schedule, object, &objects[object], now);
            }
        } else if answered == Some(now) {
            let Some((_, answer)) = answers.pop_first() else { continue };
            hear(&mut schedule, &mut objects, answer, now);
        } else {
            let now = now.max(sent_last);
            let looks = schedule.take(now, random.number());
            let ids = looks.iter().flat_map(|(object, ids)| ids.iter().map(|id| (*object, *id)));
            let ids: Vec<_> = ids.collect();
            // Age groups that were merged may have nothing due any more.
            idle = if ids.is_empty() { idle + 1 } else { 0 };
            assert!(idle < 100, "something is due and nothing is taken");
            for call in ids.chunks(READ_SIZE) {
                let sent = now.max(sent_last + BETWEEN_READS);
                sent_last = sent;
                reads += 1;
                answers.insert((sent + LATENCY, reads), Answer { sent, ids: call.to_vec() });
            }
        }
    }
    figures(fleet, &objects, reads)
}

fn watch(
    schedule: &mut Schedule<usize>,
    object: usize,
    instances: &BTreeMap<InstanceId, Instance>,
    now: Mono,
) {
    let one =
        |(id, one): (&InstanceId, &Instance)| OnItsWay { id: *id, age: now - one.accepted, asked: false };
    let on_their_way = instances.iter().map(one).collect();
    schedule.watch(&object, &Watch { on_their_way, others: 0 }, now);
}

fn hear(
    schedule: &mut Schedule<usize>,
    objects: &mut [BTreeMap<InstanceId, Instance>],
    answer: Answer,
    now: Mono,
) {
    let mut by_object: BTreeMap<usize, (Vec<InstanceId>, Vec<InstanceId>)> = BTreeMap::new();
    for (object, id) in answer.ids {
        let (asked, ended) = by_object.entry(object).or_default();
        asked.push(id);
        let Some(one) = objects[object].get_mut(&id).filter(|one| one.end <= answer.sent) else { continue };
        one.seen = Some(now);
        ended.push(id);
    }
    for (object, (asked, ended)) in by_object {
        schedule.answered(&object, &asked, &ended);
    }
}

fn figures(fleet: &Fleet, objects: &[BTreeMap<InstanceId, Instance>], reads: u64) -> Figures {
    let all = objects.iter().flat_map(BTreeMap::values);
    let late: Duration = all.filter_map(|one| one.seen.map(|seen| seen - one.end)).sum();
    let ratio = |object: &BTreeMap<InstanceId, Instance>| {
        let start = object.values().map(|one| one.accepted).min()?;
        let end = object.values().map(|one| one.end).max()?;
        let seen = object.values().filter_map(|one| one.seen).max()?;
        Some((seen - start).as_secs_f64() / (end - start).as_secs_f64())
    };
    let n = fleet.objects * fleet.instances;
    Figures {
        reads: f64::from(u32::try_from(reads).unwrap_or(u32::MAX)),
        least: count(n.div_ceil(READ_SIZE)),
        ratios: objects.iter().filter_map(ratio).collect(),
        late: late.as_secs_f64() / count(n),
    }
}
