//! Three candidates and one Lease in virtual time, with requests that are slow, fail, or succeed unheard, and candidates that
//! stand still: at no moment do two lead; without faults somebody always leads, and with them somebody leads again and again.

use super::*;

const ROUNDS: u64 = 300;
const STEP: Duration = Duration::from_millis(100);
/// Three minutes.
const STEPS: u32 = 1_800;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}

enum Answer {
    Read(Option<Lease>),
    Written(Lease),
    Conflict,
    Failed,
}

struct Pending {
    sent: Mono,
    arrives: Mono,
    next: NextStep,
    heard: Mono,
    lost: bool,
    answer: Option<Answer>,
}

struct Process {
    candidate: Candidate,
    /// Its clock is this much ahead of the others'.
    ahead: Duration,
    stopped_until: Mono,
    pending: Option<Pending>,
    starts: u32,
}

struct Store {
    lease: Option<Lease>,
    version: u64,
}

impl Store {
    fn ask(&mut self, me: &str, next: &NextStep) -> Answer {
        let fits = match (next, &self.lease) {
            (NextStep::Write(Write::Create), stored) => stored.is_none(),
            (NextStep::Write(Write::Take(version) | Write::Renew(version)), Some(stored)) => {
                stored.version == *version
            }
            (NextStep::Write(_), None) => false,
            _ => return Answer::Read(self.lease.clone()),
        };
        if !fits {
            return Answer::Conflict;
        }
        self.version += 1;
        let lease = Lease {
            version: self.version.to_string(),
            holder: Some(me.to_owned()),
            duration: Some(TIMES.lease),
        };
        self.lease = Some(lease.clone());
        Answer::Written(lease)
    }
}

impl Process {
    fn new(number: usize, starts: u32, ahead: Duration) -> Self {
        let candidate = Candidate::new(format!("{number}-{starts}"), TIMES);
        Self { candidate, ahead, stopped_until: Mono::START, pending: None, starts }
    }

    /// What it believes when it is asked, as the last check before a call asks.
    fn leads(&self, now: Mono) -> bool {
        self.candidate.until().is_some_and(|until| now + self.ahead < until)
    }

    fn step(&mut self, number: usize, now: Mono, store: &mut Store, random: &mut Random, calm: bool) {
        if let Some(pending) = &mut self.pending
            && pending.answer.is_none()
            && now >= pending.arrives
        {
            // At the API server, whatever the process does meanwhile.
            pending.answer = Some(store.ask(&self.candidate.identity, &pending.next));
        }
        if now < self.stopped_until {
            return;
        }
        let local = now + self.ahead;
        let jitter = random.below(u64::MAX);
        match self.pending.take() {
            Some(pending) if now < pending.heard => self.pending = Some(pending),
            Some(Pending { sent, lost, answer, .. }) => {
                match answer.filter(|_| !lost).unwrap_or(Answer::Failed) {
                    Answer::Read(lease) => self.candidate.read(lease, local, jitter),
                    Answer::Written(lease) => self.candidate.written(lease, sent),
                    Answer::Conflict => self.candidate.conflict(local, jitter),
                    Answer::Failed => self.candidate.failed(local, jitter),
                }
            }
            None => match self.candidate.next(local) {
                NextStep::Wait(_) => {}
                NextStep::Lost(_) => *self = Self::new(number, self.starts + 1, self.ahead),
                next @ (NextStep::Read | NextStep::Write(_)) => {
                    let slow = if calm { 2 } else { 40 };
                    let arrives = now + STEP * u32::try_from(random.below(slow)).unwrap();
                    let heard = arrives + STEP * u32::try_from(random.below(slow)).unwrap();
                    let lost = !calm && random.below(4) == 0;
                    self.pending = Some(Pending { sent: local, arrives, next, heard, lost, answer: None });
                }
            },
        }
        if !calm && random.below(400) == 0 {
            self.stopped_until = now + STEP * u32::try_from(random.below(400)).unwrap();
        }
    }
}

#[test]
fn at_no_moment_do_two_lead() {
    // By whether there are faults: steps, and those of them in which somebody led.
    let (mut steps, mut led, mut lost) = ([0_u64; 2], [0_u64; 2], 0);
    for round in 0..ROUNDS {
        let mut random = Random(round);
        // Every tenth round is without faults.
        let calm = round % 10 == 0;
        let mut store = Store { lease: None, version: 0 };
        let mut processes: Vec<_> =
            (0..3).map(|n| Process::new(n, 0, Duration::from_secs(random.below(100_000)))).collect();
        for step in 0..STEPS {
            let now = Mono::START + STEP * step;
            for (number, process) in processes.iter_mut().enumerate() {
                process.step(number, now, &mut store, &mut random, calm);
            }
            let leaders = processes.iter().filter(|process| process.leads(now)).count();
            assert!(leaders <= 1, "round {round}, step {step}");
            led[usize::from(calm)] += u64::from(leaders == 1);
            steps[usize::from(calm)] += 1;
        }
        let starts: u32 = processes.iter().map(|process| process.starts).sum();
        assert!(!calm || starts == 0, "without a fault nobody loses the lease: round {round}");
        lost += starts;
    }
    assert!(led[1] * 100 > steps[1] * 99, "without faults: {} of {}", led[1], steps[1]);
    assert!(led[0] * 4 > steps[0], "with faults: {} of {}", led[0], steps[0]);
    assert!(lost > 500, "the lease was lost {lost} times");
}
