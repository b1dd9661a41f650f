//! What a pace gets out of a server that grants less than the ceiling, in virtual time.

use super::*;

/// A server that grants so many calls in each window.
struct Windows {
    length: Duration,
    grants: u64,
    /// Whether its refusals say when the window is over, as the gateway's message does.
    says: bool,
    window: u64,
    used: u64,
}

impl Windows {
    fn new(length: u64, grants: u64, says: bool) -> Self {
        Self { length: Duration::from_secs(length), grants, says, window: 0, used: 0 }
    }
}

/// A server whose bucket holds one call and is filled at this rate.
struct Bucket {
    rate: f64,
    tokens: f64,
    filled: Mono,
}

trait Server {
    /// Whether a call is granted; if not, how long the refusal asks to wait.
    fn call(&mut self, now: Mono) -> Result<(), Option<Duration>>;
}

impl Server for Windows {
    fn call(&mut self, now: Mono) -> Result<(), Option<Duration>> {
        let window = u64::try_from(now.since_start().as_micros() / self.length.as_micros()).unwrap();
        if window != self.window {
            (self.window, self.used) = (window, 0);
        }
        if self.used < self.grants {
            self.used += 1;
            return Ok(());
        }
        Err(self.says.then_some(self.length))
    }
}

impl Server for Bucket {
    fn call(&mut self, now: Mono) -> Result<(), Option<Duration>> {
        self.tokens = (self.tokens + self.rate * (now - self.filled).as_secs_f64()).min(1.0);
        self.filled = now;
        if self.tokens < 1.0 {
            return Err(None);
        }
        self.tokens -= 1.0;
        Ok(())
    }
}

/// Calls granted and refused between the first minute and the end, by a caller that always has another call to make and
/// hears of its outcome at once.
fn run(mut pace: Pace, server: &mut dyn Server, minutes: u64) -> (f64, f64) {
    let (mut granted, mut refused) = (0.0, 0.0);
    let mut now = Mono::START;
    while now < Mono::at(Duration::from_mins(minutes)) {
        if pace.take(1, now) == 0 {
            now = pace.due(1, now);
            continue;
        }
        let counts = now >= Mono::at(Duration::from_mins(1));
        match server.call(now) {
            Ok(()) => {
                pace.accepted();
                granted += f64::from(u8::from(counts));
            }
            Err(wait) => {
                pace.refused(Refusal::TooManyRequests, wait, now);
                refused += f64::from(u8::from(counts));
            }
        }
    }
    (granted, refused)
}

#[test]
fn c07_goodput_is_nine_tenths_of_what_an_unknown_limit_grants_and_few_calls_are_refused() {
    let minutes = 31;
    let seconds = 60.0 * 30.0;
    let bucket = |rate| Bucket { rate, tokens: 1.0, filled: Mono::START };
    let table: [(&str, f64, Box<dyn Server>, f64); 6] = [
        ("deletes, 1 in a window of 1 s", 2.0, Box::new(Windows::new(1, 1, false)), 1.0),
        ("reads, 5 in a window of 1 s", 10.0, Box::new(Windows::new(1, 5, false)), 5.0),
        ("deletes, a bucket of one at 1/s", 2.0, Box::new(bucket(1.0)), 1.0),
        ("reads, a bucket of one at 5/s", 10.0, Box::new(bucket(5.0)), 5.0),
        ("deletes, 60 in a minute, said", 2.0, Box::new(Windows::new(60, 60, true)), 1.0),
        ("reads, 300 in a minute, said", 10.0, Box::new(Windows::new(60, 300, true)), 5.0),
    ];
    let mut report = String::new();
    let mut good = true;
    for (name, ceiling, mut server, rate) in table {
        let (granted, refused) = run(Pace::new(ceiling, Mono::START), &mut *server, minutes);
        let (goodput, share) = (granted / (rate * seconds), refused / (granted + refused));
        good &= goodput >= 0.9 && share <= 0.05;
        println!(
            "figure: pace, {name}: {goodput:.3} of what is granted is used, {share:.3} of all calls are refused"
        );
        report += &format!("{name}: {goodput:.3} of what is granted, {share:.3} refused\n");
    }
    assert!(good, "{report}");
}
