//! The conditions of a measurement, and its bounds.

use std::time::Duration;

use clouddc_simulator::{EndTime, Fault, Operation, Options, RateLimit, ThrottleBody};

use crate::figure::{Figure, Sample, number};

/// Ids in one delete call at most (BatchDeleteOptions).
pub const BATCH: usize = 50;
/// Ids in one read at most (ListInstances).
pub const READ: usize = 100;
/// Default of `--parallel-calls`: delete calls between two writes.
const PARALLEL: usize = 4;
/// Of a throttled run, from its first call: until then an unknown limit may be searched for.
pub const SETTLING: Duration = Duration::from_mins(1);
/// Of a throttled run, after that: whole windows of a minute.
pub const MEASURED: Duration = Duration::from_mins(4);
/// Standard deviation of the logarithm of how long a deletion takes.
const SIGMA: f64 = 0.5;

/// A bound of the mean over all seeds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    /// The least possible itself.
    Least,
    /// At most this.
    AtMost(f64),
    /// At least this.
    AtLeast(f64),
}

impl Bound {
    /// Whether it holds.
    #[must_use]
    pub fn holds(self, mean: f64, least: Option<f64>) -> bool {
        match self {
            // Counts: a difference in any seed moves the mean by far more.
            Self::Least => least.is_some_and(|least| (mean - least).abs() < 1e-9),
            Self::AtMost(most) => mean <= most,
            Self::AtLeast(least) => mean >= least,
        }
    }
}

/// What the cloud lets through.
#[derive(Clone, Debug)]
pub struct Throttle {
    delete: RateLimit,
    read: RateLimit,
}

impl Throttle {
    /// Delete calls granted in a second.
    pub const DELETES: f64 = 1.0;
    /// Reads granted in a second.
    pub const READS: f64 = 5.0;

    /// Windows of a second, of which the cloud says nothing.
    fn second() -> Self {
        let second = Duration::from_secs(1);
        Self { delete: RateLimit::fixed(1, second), read: RateLimit::fixed(5, second) }
    }

    /// A bucket that holds one call, of which the cloud says nothing.
    fn bucket() -> Self {
        let bucket = |calls: u32| RateLimit::bucket(1, Duration::from_secs(1) / calls);
        Self { delete: bucket(1), read: bucket(5) }
    }

    /// Windows of a minute, with the vendor's message.
    fn minute() -> Self {
        let window = |calls| RateLimit::fixed(calls, Duration::from_mins(1)).body(ThrottleBody::Apigw);
        Self { delete: window(60), read: window(300) }
    }
}

/// Conditions.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// For `--only`.
    pub name: &'static str,
    /// For people.
    pub about: &'static str,
    /// How many objects.
    pub objects: usize,
    /// How many ids in each.
    pub ids: usize,
    /// How long a deletion takes, in the median.
    pub median: Duration,
    /// Each instance is powered off first, and deleted as soon as it is off.
    pub power_off: bool,
    /// Terminated instances are gone at once instead of being listed.
    pub vanish: bool,
    /// The account may list instances.
    pub listing: bool,
    /// Limits; a run under them is cut off after [`SETTLING`] and [`MEASURED`], others go on to the end of all.
    pub throttle: Option<Throttle>,
    /// Each reply is delayed at random, by no more than this.
    pub reply_delay: Duration,
    /// Flags of the controller beside those that name its cloud.
    pub flags: &'static [&'static str],
    /// What must hold.
    pub musts: &'static [(Figure, Bound)],
    /// Seeds that run side by side.
    pub at_once: usize,
}

/// All ids are accepted within seconds.
const UNHURRIED: &[&str] = &["--delete-rate", "200"];

impl Scenario {
    /// All of them.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let base = Self {
            name: "objects",
            about: "10 objects × 1,000 ids; a deletion takes 60 s in the median, σ 0.5; terminated instances stay listed",
            objects: 10,
            ids: 1_000,
            median: Duration::from_mins(1),
            power_off: false,
            vanish: false,
            listing: true,
            throttle: None,
            reply_delay: Duration::ZERO,
            flags: UNHURRIED,
            musts: &[
                (Figure::DeleteCalls, Bound::Least),
                (Figure::Reads, Bound::AtMost(2.5)),
                (Figure::LastEnd, Bound::AtMost(1.03)),
            ],
            at_once: 5,
        };
        let mut all = vec![
            base.clone(),
            Self {
                name: "power-off",
                about: "as `objects`, and each instance is powered off first (`when: Always`, no soak), which takes 5 s; the \
                        script deletes them as they are",
                power_off: true,
                musts: &[
                    (Figure::DeleteCalls, Bound::Least),
                    (Figure::PowerCalls, Bound::Least),
                    (Figure::Reads, Bound::AtMost(2.5)),
                    (Figure::LastEnd, Bound::AtMost(1.03)),
                ],
                ..base.clone()
            },
            Self {
                name: "vanish",
                about: "as `objects`, but a terminated instance is gone at once: only two reads of that id alone prove its end, \
                        which at the default of 10 reads a second would take 33 min; --read-rate is 200",
                vanish: true,
                flags: &["--delete-rate", "200", "--read-rate", "200"],
                musts: &[(Figure::DeleteCalls, Bound::Least)],
                ..base.clone()
            },
            Self {
                name: "first-look",
                about: "1,000 objects × 1 id, all there before the controller starts; 60 s in the median, σ 0.5",
                objects: 1_000,
                ids: 1,
                musts: &[(Figure::DeleteCalls, Bound::Least), (Figure::FirstReads, Bound::AtMost(20.0))],
                ..base.clone()
            },
            Self {
                name: "memory",
                about: "100 objects × 1,000 ids, all there before the controller starts; 20 s in the median, σ 0.5",
                objects: 100,
                median: Duration::from_secs(20),
                flags: &["--delete-rate", "200", "--read-rate", "200"],
                musts: &[(Figure::DeleteCalls, Bound::Least), (Figure::PeakMemory, Bound::AtMost(64.0))],
                // Twice that many objects keep two processors busy.
                at_once: 2,
                ..base.clone()
            },
        ];
        all.extend(Self::throttled(&base));
        all
    }

    /// Each limit with more delete calls to make than it grants, and with more reads.
    fn throttled(base: &Self) -> Vec<Self> {
        let deletes = Self {
            objects: 80,
            ids: 200,
            flags: &[],
            musts: &[
                (Figure::DeleteGoodput, Bound::AtLeast(0.9)),
                (Figure::DeleteRefusals, Bound::AtMost(5.0)),
                (Figure::ReadRefusals, Bound::AtMost(5.0)),
            ],
            ..base.clone()
        };
        let reads = Self {
            objects: 20,
            listing: false,
            // Delete calls are few: each waits for fifty reads.
            musts: &[(Figure::ReadGoodput, Bound::AtLeast(0.9)), (Figure::ReadRefusals, Bound::AtMost(5.0))],
            ..deletes.clone()
        };
        let mut all = vec![
            deletes.under(
                "second",
                "80 objects × 200 ids; 1 delete/s and 5 reads/s in windows of a second, without a hint",
                Throttle::second(),
            ),
            deletes.under(
                "bucket",
                "80 objects × 200 ids; 1 delete/s and 5 reads/s from a bucket that holds one call, without a hint",
                Throttle::bucket(),
            ),
            deletes.under(
                "minute",
                "80 objects × 200 ids; 60 deletes and 300 reads in windows of a minute, with the vendor's message",
                Throttle::minute(),
            ),
            reads.under(
                "second-reads",
                "20 objects × 200 ids of an account that may not list; limits as in `second`",
                Throttle::second(),
            ),
            reads.under(
                "bucket-reads",
                "20 objects × 200 ids of an account that may not list; limits as in `bucket`",
                Throttle::bucket(),
            ),
            reads.under(
                "minute-reads",
                "20 objects × 200 ids of an account that may not list; limits as in `minute`",
                Throttle::minute(),
            ),
        ];
        all.extend(Self::late(&deletes));
        all
    }

    /// More delete calls than are granted, to a cloud whose replies take longer at random.
    fn late(deletes: &Self) -> [Self; 2] {
        let late = Self {
            reply_delay: Duration::from_millis(400),
            musts: &[
                (Figure::DeleteGoodput, Bound::AtLeast(0.75)),
                (Figure::DeleteRefusals, Bound::AtMost(5.0)),
                (Figure::ReadRefusals, Bound::AtMost(5.0)),
            ],
            ..deletes.clone()
        };
        [
            late.under(
                "second-late",
                "as `second`, and each reply comes up to 0.4 s later at random",
                Throttle::second(),
            ),
            late.under(
                "bucket-late",
                "as `bucket`, and each reply comes up to 0.4 s later at random",
                Throttle::bucket(),
            ),
        ]
    }

    /// This scenario under these limits.
    fn under(&self, name: &'static str, about: &'static str, throttle: Throttle) -> Self {
        Self { name, about, throttle: Some(throttle), ..self.clone() }
    }

    /// Whether all of it runs until every instance is gone.
    #[must_use]
    pub fn runs_to_the_end(&self) -> bool {
        self.throttle.is_none()
    }

    /// Ids of all objects.
    #[must_use]
    pub fn total(&self) -> usize {
        self.objects * self.ids
    }

    /// A cloud of this kind.
    #[must_use]
    pub fn cloud(&self, seed: u64) -> Options {
        Options {
            seed,
            end: EndTime::LogNormal { median: self.median, sigma: SIGMA },
            vanish_after: self.vanish.then_some(Duration::ZERO),
            delete_limit: self.throttle.as_ref().map(|throttle| throttle.delete.clone()),
            read_limit: self.throttle.as_ref().map(|throttle| throttle.read.clone()),
            reply_delay: self.reply_delay,
            ..Options::default()
        }
    }

    /// What is to be scripted into it.
    #[must_use]
    pub fn fault(&self) -> Option<Fault> {
        let refusal = |fault: Fault| fault.reply_error(403, "iMetal.0004", "Insufficient permissions");
        (!self.listing).then(|| refusal(Fault::on(Operation::ListInstances)))
    }

    /// The least possible of what depends on no seed.
    #[must_use]
    pub fn least(&self) -> Sample {
        let batches = self.ids.div_ceil(BATCH);
        let mut least = Sample::from([
            (Figure::DeleteRefusals, 0.0),
            (Figure::ReadRefusals, 0.0),
            (Figure::Refusals, 0.0),
        ]);
        if self.power_off {
            least.insert(Figure::PowerCalls, number(self.objects * batches));
        }
        if self.runs_to_the_end() {
            // Each kind of call rests on a read of its own.
            let kinds = if self.power_off { 2 } else { 1 };
            least.extend([
                (Figure::DeleteCalls, number(self.objects * batches)),
                (Figure::FirstReads, number(kinds * self.total().div_ceil(READ))),
                // A list leaves out what has vanished, and two reads of that id alone prove that it has.
                (Figure::Reads, if self.vanish { 2.0 * number(READ) } else { 1.0 }),
                // An intent before each wave, with what the wave before it came to; the last outcome; the end.
                (Figure::Writes, number(kinds * batches.div_ceil(PARALLEL) + 2)),
                (Figure::Lateness, 0.0),
                (Figure::Longest, 0.0),
                (Figure::LastEnd, 1.0),
                (Figure::WallRatio, 1.0),
            ]);
        } else {
            least.insert(if self.listing { Figure::DeleteGoodput } else { Figure::ReadGoodput }, 1.0);
        }
        least
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds() {
        assert!(Bound::AtMost(2.5).holds(2.5, None) && !Bound::AtMost(2.5).holds(2.51, None));
        assert!(Bound::AtLeast(0.9).holds(0.9, None) && !Bound::AtLeast(0.9).holds(0.89, None));
        assert!(Bound::Least.holds(200.0, Some(200.0)));
        assert!(!Bound::Least.holds(200.2, Some(200.0)) && !Bound::Least.holds(199.8, Some(200.0)));
        assert!(!Bound::Least.holds(200.0, None), "nothing to compare with");
    }

    #[test]
    fn each_has_a_name_of_its_own_and_least_values_for_its_musts() {
        let all = Scenario::all();
        for scenario in &all {
            assert_eq!(all.iter().filter(|other| other.name == scenario.name).count(), 1);
            let least = scenario.least();
            for (figure, bound) in scenario.musts {
                assert!(*bound != Bound::Least || least.contains_key(figure), "{}", scenario.name);
            }
        }
    }

    #[test]
    fn the_least_possible() {
        let all = Scenario::all();
        let of = |name, figure: &_| all.iter().find(|s| s.name == name).unwrap().least().get(figure).copied();
        assert_eq!(of("objects", &Figure::DeleteCalls), Some(200.0));
        assert_eq!(of("objects", &Figure::FirstReads), Some(100.0));
        assert_eq!(of("objects", &Figure::Writes), Some(7.0));
        assert_eq!(of("first-look", &Figure::DeleteCalls), Some(1_000.0));
        assert_eq!(of("first-look", &Figure::FirstReads), Some(10.0));
        assert_eq!(of("first-look", &Figure::Writes), Some(3.0));
        assert_eq!(of("objects", &Figure::Reads), Some(1.0));
        assert_eq!(of("vanish", &Figure::Reads), Some(200.0));
        assert_eq!(of("objects", &Figure::PowerCalls), None);
        assert_eq!(of("power-off", &Figure::PowerCalls), Some(200.0));
        assert_eq!(of("power-off", &Figure::FirstReads), Some(200.0));
        assert_eq!(of("power-off", &Figure::Writes), Some(12.0));
        assert_eq!(of("minute", &Figure::DeleteCalls), None, "it is cut off");
    }
}
