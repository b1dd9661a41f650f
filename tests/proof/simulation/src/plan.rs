//! What a seed draws before the run: objects, instances, flags, and what users and machines do when.

use std::time::Duration;

use clouddc_simulator::{EndTime, Options};
use instance_deletion_controller::{controller::Key, engine::Settings};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::{
    faults::{Faults, Kind},
    random::Random,
    sim::EPOCH,
};

/// The project of all instances.
pub const PROJECT: &str = "0123456789abcdef0123456789abcdef";
/// Region of all instances.
pub const REGION: &str = "ap-southeast-3";
/// Name of each namespace's Secret.
pub const SECRET: &str = "clouddc";
/// Tokens: of the first namespace, of the second, and what they are replaced by.
pub const TOKENS: [&str; 4] =
    ["token-of-fleet-0", "token-of-other-0", "token-of-fleet-1", "token-of-other-1"];
/// How every token begins.
pub const TOKEN_PREFIX: &str = "token-of-";
/// Namespaces.
pub const NAMESPACES: [&str; 2] = ["fleet", "other"];

/// An object that a user creates.
#[derive(Clone, Debug)]
pub struct ObjectPlan {
    /// Namespace and name.
    pub key: Key,
    /// Ids in its spec.
    pub ids: Vec<String>,
    /// When it is created.
    pub created: Duration,
    /// Created with dryRun: true.
    pub dry_run: bool,
    /// Further fields of its spec.
    pub further: Map<String, Value>,
}

/// What is special about an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Course {
    /// So many deletions fall to error.
    FallsToError(u32),
    /// A deletion does not end by itself.
    NeverEnds,
    /// In a state that nobody knows, until everything heals.
    UnknownState,
    /// The cloud does not know it.
    NotFound,
    /// In a state that refuses a deletion, until everything heals.
    StateRefuses,
    /// Someone else deletes it at this time, and it ends later.
    DeletedElsewhere(Duration),
    /// It is off from the beginning.
    FoundOff,
    /// So many power-offs of it fail.
    PowerOffFails(u32),
}

/// What is done at some time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Of a user, to the object of this place in the plan.
    User(usize, UserAct),
    /// To the Secret of this namespace.
    Secret(usize, SecretAct),
    /// A process dies, and another starts this much later.
    Crash(Duration),
    /// A process stands still for so long.
    Freeze(Duration),
    /// A process's wall clock jumps by so many seconds.
    Jump(i64),
    /// To the guards.
    Guard(GuardAct),
    /// Someone gives this instance another name, or keeps it from being told.
    Name(String, NameAct),
    /// Someone powers this instance on, or off.
    Power(String, bool),
    /// The server of this instance gets another one, if it has ended.
    Reuse(String),
}

/// What a platform team does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GuardAct {
    /// Has the guard of this namespace (none: of all) hold everything.
    Hold(Option<usize>),
    /// Lets everything go on.
    LetGo,
    /// Protects an instance.
    Protect(String),
    /// Protects the names that are not expected.
    ProtectNames,
}

/// What becomes of the name of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameAct {
    /// Another one.
    Change,
    /// Lists do not tell it.
    Hide,
    /// Lists tell it again.
    Tell,
}

/// The names that are expected, as a pattern.
pub const EXPECTED: &str = "rack-12-*";
/// How the others begin.
pub const UNEXPECTED: &str = "db-";

/// What a user does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserAct {
    /// Sets spec.suspend.
    Suspend,
    /// Unsets it.
    Resume,
    /// Deletes the object.
    Delete,
    /// Deletes it while a finalizer keeps it.
    Leave,
    /// Deletes it and creates it again at once.
    Recreate,
    /// Sets dryRun to false.
    Go,
    /// Removes spec.rollout.limit.
    RemoveLimit,
}

/// What happens to a Secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretAct {
    /// It is gone.
    Remove,
    /// Its token is none.
    Spoil,
    /// Another token, and the old one is refused.
    Rotate,
    /// As it should be.
    Restore,
}

/// Everything that is drawn before the run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// Options of the cloud.
    pub cloud: Options,
    /// Flags.
    pub settings: Settings,
    /// `--delete-rate`, `--read-rate`.
    pub rates: (f64, f64),
    /// Objects.
    pub objects: Vec<ObjectPlan>,
    /// Instances that are special.
    pub courses: Vec<(String, Course)>,
    /// Processes that work at once.
    pub processes: usize,
    /// How long there are faults.
    pub chaos: Duration,
    /// What is done when, in order.
    pub acts: Vec<(Duration, Act)>,
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// Limits of an object, each seldom.
fn limits(random: &mut Random, faults: &mut Faults) -> Map<String, Value> {
    let mut spec = Map::new();
    let mut set = |random: &mut Random, kind, name: &str, value: fn(&mut Random) -> Value| {
        if random.chance(0.06) {
            faults.count(kind);
            spec.insert(name.to_owned(), value(random));
        }
    };
    set(random, Kind::NotAfter, "notAfter", |random| {
        let at = EPOCH + i64::try_from(random.below(600)).unwrap_or(0);
        json!(Timestamp::from_second(at).unwrap_or_default().to_string())
    });
    set(random, Kind::Deadline, "activeDeadlineSeconds", |random| json!(1 + random.below(400)));
    set(random, Kind::Ttl, "ttlSecondsAfterFinished", |random| json!(random.below(300)));
    set(random, Kind::PolicyFail, "notFoundPolicy", |_| json!("Fail"));
    set(random, Kind::BackoffLimit, "backoffLimitPerInstance", |random| json!(random.below(4)));
    spec
}

/// A UUID such as the cloud's.
#[must_use]
pub fn id_of(seed: u64, n: usize) -> String {
    let mut random = Random::new(seed, 77 + n as u64);
    let (a, b) = (random.number(), random.number());
    format!(
        "0198170e-{:04x}-7{:03x}-8{:03x}-{:012x}",
        n & 0xffff,
        a & 0xfff,
        (a >> 12) & 0xfff,
        b & 0xffff_ffff_ffff
    )
}

impl Plan {
    /// A plan without anything special: one object of `n` ids, one process.
    #[must_use]
    pub fn plain(seed: u64, n: usize) -> Self {
        let ids = (0..n).map(|i| id_of(seed, i)).collect();
        let key = Key { namespace: NAMESPACES[0].to_owned(), name: "first".to_owned() };
        Self {
            seed,
            cloud: Options { seed, end: EndTime::Fixed(seconds(60)), ..Options::default() },
            settings: Settings::default(),
            rates: (10.0, 20.0),
            objects: vec![ObjectPlan { key, ids, created: seconds(1), dry_run: false, further: Map::new() }],
            courses: Vec::new(),
            processes: 1,
            chaos: seconds(5),
            acts: Vec::new(),
        }
    }

    /// What this seed draws, with the rates of its faults.
    #[must_use]
    pub fn drawn(seed: u64) -> (Self, Faults) {
        let mut random = Random::new(seed, 1);
        let mut faults = Faults::drawn(&mut random);
        let n = random.pick(1, &[1, 2, 2, 3, 3, 3, 4, 5, 7, 7, 8, 10, 10, 12, 20, 49, 50, 51, 60, 101, 130]);
        let mut plan = Self::plain(seed, n);
        plan.chaos = random.between(seconds(60), seconds(400));
        plan.settings.parallel_calls = random.pick(4, &[1, 2, 4]);
        plan.settings.poll_min = random.pick(seconds(5), &[seconds(10), seconds(20), seconds(30)]);
        if n > 40 {
            // A look at many ids takes the most real time, and shows nothing that fewer looks do not.
            plan.settings.poll_min = seconds(30);
        }
        plan.rates = random.pick((10.0, 20.0), &[(2.0, 10.0), (1.0, 5.0)]);
        plan.draw_cloud(&mut random, &mut faults);
        plan.draw_objects(&mut random, &mut faults);
        plan.draw_courses(&mut random, &mut faults);
        if random.chance(0.25) {
            plan.processes = 2;
            faults.count(Kind::TwoProcesses);
        }
        plan.draw_acts(&mut random, &mut faults);
        plan.draw_checks(&mut Random::new(seed, 3), &mut faults);
        plan.draw_power(&mut Random::new(seed, 4), &mut faults);
        plan.acts.sort_by_key(|(at, _)| *at);
        (plan, faults)
    }

    fn draw_cloud(&mut self, random: &mut Random, faults: &mut Faults) {
        let (least, most) = random.pick((1, 30), &[(10, 60), (20, 120), (60, 300)]);
        self.cloud.end = EndTime::Uniform { min: seconds(least), max: seconds(most) };
        if random.chance(0.3) {
            // A read lags less than --settle behind; a call may arrive some seconds after its sender gave up.
            self.cloud.visibility_lag =
                random.between(seconds(1), self.settings.settle.saturating_sub(seconds(8)));
            faults.count(Kind::ReadsLag);
        }
        self.cloud.vanish_after = match random.below(5) {
            0 => {
                faults.count(Kind::VanishesAtOnce);
                Some(Duration::ZERO)
            }
            1 => {
                faults.count(Kind::Vanishes);
                Some(random.between(seconds(5), seconds(120)))
            }
            _ => None,
        };
    }

    fn draw_objects(&mut self, random: &mut Random, faults: &mut Faults) {
        let Some(first) = self.objects.first().cloned() else { return };
        for n in 1..=random.pick(0, &[0, 0, 1, 2]) {
            let namespace = NAMESPACES[random.below(2)].to_owned();
            let mut ids: Vec<String> =
                (0..=random.below(20)).map(|i| id_of(self.seed, 200 * n + i)).collect();
            if random.chance(0.6) {
                faults.count(Kind::SharedIds);
                let shared = 1 + random.below(first.ids.len());
                ids.extend(first.ids.iter().take(shared).cloned());
            }
            let created = random.between(seconds(0), seconds(120));
            let key = Key { namespace, name: format!("further-{n}") };
            self.objects.push(ObjectPlan { key, ids, created, dry_run: false, further: Map::new() });
        }
        for object in &mut self.objects {
            object.dry_run = random.chance(0.1);
            object.further = limits(random, faults);
        }
    }

    fn draw_courses(&mut self, random: &mut Random, faults: &mut Faults) {
        let share = random.pick(0.0, &[0.0, 0.02, 0.1, 1.0]);
        let only = random.below(7);
        let ids: Vec<String> = self.objects.iter().flat_map(|o| o.ids.iter().cloned()).collect();
        for id in ids {
            if !random.chance(share) || self.courses.iter().any(|(known, _)| *known == id) {
                continue;
            }
            // One kind for all, or a mixture.
            let which = if only < 6 { only } else { random.below(6) };
            let (course, kind) = match which {
                0 => (
                    Course::FallsToError(1 + u32::try_from(random.below(8)).unwrap_or(0)),
                    Kind::FallsToError,
                ),
                1 => (Course::NeverEnds, Kind::NeverEnds),
                2 => (Course::UnknownState, Kind::UnknownState),
                3 => (Course::NotFound, Kind::NotFound),
                4 => (Course::StateRefuses, Kind::StateRefuses),
                _ => (
                    Course::DeletedElsewhere(random.between(seconds(0), seconds(60))),
                    Kind::DeletedElsewhere,
                ),
            };
            faults.count(kind);
            self.courses.push((id, course));
        }
    }

    /// What limits the objects by what their instances are, by guards, and by the number that is sent.
    fn draw_checks(&mut self, random: &mut Random, faults: &mut Faults) {
        for (n, object) in self.objects.iter_mut().enumerate() {
            if random.chance(0.2) {
                faults.count(Kind::Expected);
                object.further.insert("expect".to_owned(), json!({"name": EXPECTED}));
            }
            let mut rollout = Map::new();
            let most = object.ids.len().max(1);
            for (kind, field) in
                [(Kind::Limit, "limit"), (Kind::MaxInFlight, "maxInFlight"), (Kind::MaxFailed, "maxFailed")]
            {
                if random.chance(0.08) {
                    faults.count(kind);
                    rollout.insert(field.to_owned(), json!(1 + random.below(most)));
                }
            }
            if rollout.contains_key("limit") && random.chance(0.7) {
                let at = object.created + random.between(seconds(1), seconds(300));
                self.acts.push((at, Act::User(n, UserAct::RemoveLimit)));
            }
            if !rollout.is_empty() {
                object.further.insert("rollout".to_owned(), Value::Object(rollout));
            }
        }
        for _ in 0..random.pick(0, &[0, 0, 1, 2, 4]) {
            self.draw_check_act(random, faults);
        }
    }

    fn draw_check_act(&mut self, random: &mut Random, faults: &mut Faults) {
        let at = random.between(seconds(0), self.chaos.min(seconds(300)));
        let later = at + random.between(seconds(1), seconds(200));
        let object = random.below(self.objects.len());
        let Some(object) = self.objects.get(object) else { return };
        let Some(id) = object.ids.get(random.below(object.ids.len())).cloned() else { return };
        let mut add = |at, act| self.acts.push((at, act));
        let kind = match random.below(6) {
            0 | 1 => {
                let namespace = random.pick(None, &[Some(0), Some(1)]);
                add(at, Act::Guard(GuardAct::Hold(namespace)));
                add(later, Act::Guard(GuardAct::LetGo));
                Kind::GuardHolds
            }
            2 => {
                add(at, Act::Guard(GuardAct::Protect(id)));
                Kind::GuardProtects
            }
            3 => {
                add(at, Act::Guard(GuardAct::ProtectNames));
                Kind::GuardProtectsNames
            }
            4 => {
                add(at, Act::Name(id, NameAct::Change));
                Kind::Renamed
            }
            _ => {
                add(at, Act::Name(id.clone(), NameAct::Hide));
                add(later, Act::Name(id, NameAct::Tell));
                Kind::NameUnknown
            }
        };
        faults.count(kind);
    }

    /// Who powers instances off and on, and what the cloud makes of it.
    fn draw_power(&mut self, random: &mut Random, faults: &mut Faults) {
        // A time that a clock far ahead has recorded would be waited for.
        let jumps = self.acts.iter().any(|(_, act)| matches!(act, Act::Jump(_)));
        let mut ids = Vec::new();
        for object in &mut self.objects {
            if !random.chance(0.25) {
                continue;
            }
            let (power_off, kind) = match random.below(3) {
                0 => (json!({"when": "IfRefused"}), Kind::PowerOffIfRefused),
                1 if !jumps => {
                    let soak = random.pick(20, &[60, 200, 600]);
                    (json!({"when": "Always", "soakSeconds": soak}), Kind::PowerOffSoaks)
                }
                _ => (json!({"when": "Always"}), Kind::PowerOffAlways),
            };
            faults.count(kind);
            object.further.insert("powerOff".to_owned(), power_off);
            ids.extend(object.ids.iter().cloned());
        }
        if ids.is_empty() {
            return;
        }
        let (least, most) = random.pick((1, 10), &[(1, 60), (30, 200)]);
        self.cloud.power_end = EndTime::Uniform { min: seconds(least), max: seconds(most) };
        if random.chance(0.4) {
            faults.count(Kind::RefusesRunning);
            self.cloud.running_deletable = false;
            self.cloud.refusals_named = random.chance(0.5);
        }
        self.draw_power_of(&ids, random, faults);
    }

    fn draw_power_of(&mut self, ids: &[String], random: &mut Random, faults: &mut Faults) {
        let share = random.pick(0.0, &[0.05, 0.2]);
        for id in ids {
            if !random.chance(share) || self.courses.iter().any(|(known, _)| known == id) {
                continue;
            }
            let (course, kind) = if random.chance(0.5) {
                (Course::FoundOff, Kind::FoundOff)
            } else {
                let times = 1 + u32::try_from(random.below(8)).unwrap_or(0);
                (Course::PowerOffFails(times), Kind::PowerOffFails)
            };
            faults.count(kind);
            self.courses.push((id.clone(), course));
        }
        for _ in 0..random.pick(0, &[1, 2, 4]) {
            let at = random.between(seconds(1), self.chaos.min(seconds(400)));
            let id = ids.get(random.below(ids.len())).cloned().unwrap_or_default();
            let (act, kind) = match random.below(4) {
                0 => (Act::Power(id, false), Kind::PoweredOff),
                1 => (Act::Reuse(id), Kind::ServerReused),
                _ => (Act::Power(id, true), Kind::PoweredOn),
            };
            faults.count(kind);
            self.acts.push((at, act));
        }
    }

    fn draw_acts(&mut self, random: &mut Random, faults: &mut Faults) {
        let busy = random.pick(0, &[0, 1, 3, 8]);
        for _ in 0..busy {
            let at = random.between(seconds(1), self.chaos.min(seconds(400)));
            let later = at + random.between(seconds(1), seconds(200));
            let object = random.below(self.objects.len());
            let mut add = |at, act| self.acts.push((at, act));
            let user = |act| Act::User(object, act);
            let kind = match random.below(11) {
                0 => {
                    add(at, user(UserAct::Suspend));
                    add(later, user(UserAct::Resume));
                    Kind::Suspend
                }
                1 if random.chance(0.3) => {
                    add(at, user(UserAct::Delete));
                    Kind::ObjectDeleted
                }
                2 if random.chance(0.3) => {
                    add(at, user(UserAct::Leave));
                    Kind::ObjectLeaving
                }
                3 => {
                    add(at, user(UserAct::Recreate));
                    Kind::ObjectRecreated
                }
                4 => {
                    let namespace = random.below(2);
                    let (act, kind) = random.pick(
                        (SecretAct::Remove, Kind::SecretMissing),
                        &[(SecretAct::Spoil, Kind::SecretInvalid), (SecretAct::Rotate, Kind::SecretRotated)],
                    );
                    add(at, Act::Secret(namespace, act));
                    if act != SecretAct::Rotate {
                        add(later, Act::Secret(namespace, SecretAct::Restore));
                    }
                    kind
                }
                5 => {
                    add(at, Act::Freeze(random.between(seconds(1), seconds(90))));
                    Kind::Freeze
                }
                6 => {
                    add(at, Act::Jump(i64::try_from(random.below(100_000)).unwrap_or(0)));
                    Kind::WallForward
                }
                7 => {
                    add(at, Act::Jump(-i64::try_from(random.below(100_000)).unwrap_or(0)));
                    Kind::WallBackward
                }
                _ => {
                    add(at, Act::Crash(random.between(Duration::from_millis(100), seconds(40))));
                    Kind::Crash
                }
            };
            faults.count(kind);
        }
        for (n, object) in self.objects.iter().enumerate() {
            if object.dry_run && random.chance(0.7) {
                faults.count(Kind::DryRunToGo);
                let at = object.created + random.between(seconds(1), seconds(200));
                self.acts.push((at, Act::User(n, UserAct::Go)));
            }
        }
        self.acts.sort_by_key(|(at, _)| *at);
    }
}
