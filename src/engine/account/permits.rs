//! Whose turn it is to make delete calls at one account: first come, first served, one wave after the other.
//!
//! Nothing waits here. An object that gets no permit is told when to ask again, and keeps its place until then.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use super::pace::Pace;
use crate::engine::time::Mono;

/// An object behind others asks again no sooner than this.
const AFTER_OTHERS: Duration = Duration::from_millis(100);

/// The queue for permits of one account. `K` names an object.
#[derive(Clone, Debug)]
pub struct Permits<K> {
    waiting: VecDeque<(K, Mono)>,
    granted: HashMap<K, Grant>,
    /// How long a grant, or a place whose turn has come, is kept for an object that does not use it.
    keep: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Grant {
    calls: usize,
    until: Mono,
}

/// What the governor says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// This many calls may be made.
    Granted(usize),
    /// Ask again then.
    AskAgain(Mono),
}

impl<K: Clone + Eq + std::hash::Hash> Permits<K> {
    /// A queue in which an unused permit passes on after `keep`.
    #[must_use]
    pub fn new(keep: Duration) -> Self {
        Self { waiting: VecDeque::new(), granted: HashMap::new(), keep }
    }

    /// Calls granted to an object that it has not used.
    pub fn held(&mut self, key: &K, now: Mono) -> usize {
        self.granted.retain(|_, grant| grant.until > now);
        self.granted.get(key).map_or(0, |g| g.calls)
    }

    /// Asks for up to `want` calls for an object.
    pub fn ask(&mut self, key: &K, want: usize, pace: &mut Pace, now: Mono) -> Answer {
        let held = self.held(key, now);
        if held > 0 {
            return Answer::Granted(held);
        }
        // Whoever was told to ask again and did not, for `keep`, has lost its place.
        while self.waiting.front().is_some_and(|(front, turn)| front != key && *turn + self.keep < now) {
            self.waiting.pop_front();
        }
        let place = self.waiting.iter().position(|(k, _)| k == key);
        if place.unwrap_or(self.waiting.len()) == 0 {
            let alone = self.waiting.len() <= usize::from(place.is_some());
            let most = if alone { want.max(1) } else { 1 };
            let calls = pace.take(most, now);
            if calls > 0 {
                if place.is_some() {
                    self.waiting.pop_front();
                }
                self.granted.insert(key.clone(), Grant { calls, until: now + self.keep });
                return Answer::Granted(calls);
            }
        }
        let ahead = place.unwrap_or(self.waiting.len());
        let mut turn = pace.due(ahead + 1, now);
        if ahead > 0 {
            // Whoever is first has not come yet: asking again at once would bring nothing new.
            turn = turn.max(now + AFTER_OTHERS);
        }
        match place.and_then(|p| self.waiting.get_mut(p)) {
            Some(entry) => entry.1 = turn,
            None => self.waiting.push_back((key.clone(), turn)),
        }
        Answer::AskAgain(turn)
    }

    /// Notes that an object makes `calls` of the calls granted to it; what is left over goes back.
    pub fn use_up(&mut self, key: &K, calls: usize, pace: &mut Pace) {
        if let Some(grant) = self.granted.remove(key) {
            pace.give_back(grant.calls.saturating_sub(calls));
        }
    }

    /// Forgets an object that is gone or wants no call any more.
    pub fn forget(&mut self, key: &K, pace: &mut Pace) {
        self.use_up(key, 0, pace);
        self.waiting.retain(|(k, _)| k != key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEEP: Duration = Duration::from_secs(30);

    fn at(ms: u64) -> Mono {
        Mono::at(Duration::from_millis(ms))
    }

    #[test]
    fn objects_take_turns() {
        let mut pace = Pace::new(1.0, at(0));
        let mut permits = Permits::new(KEEP);
        assert_eq!(permits.ask(&"a", 4, &mut pace, at(0)), Answer::Granted(1));
        permits.use_up(&"a", 1, &mut pace);
        let Answer::AskAgain(b) = permits.ask(&"b", 4, &mut pace, at(0)) else { panic!() };
        let Answer::AskAgain(a) = permits.ask(&"a", 4, &mut pace, at(1)) else { panic!() };
        assert!(b < a);
        let Answer::AskAgain(later) = permits.ask(&"a", 4, &mut pace, b) else { panic!("not before b") };
        assert!(later > b, "no asking again and again while b has not come");
        assert_eq!(permits.ask(&"b", 4, &mut pace, b), Answer::Granted(1));
        permits.use_up(&"b", 1, &mut pace);
        assert_eq!(permits.ask(&"a", 4, &mut pace, a), Answer::Granted(1));
    }

    #[test]
    fn a_lone_object_gets_a_wave_and_gives_back_what_it_does_not_use() {
        let mut pace = Pace::new(40.0, at(0));
        let mut permits = Permits::new(KEEP);
        assert_eq!(permits.ask(&"a", 4, &mut pace, at(0)), Answer::Granted(4));
        assert_eq!(permits.held(&"a", at(1)), 4);
        permits.use_up(&"a", 1, &mut pace);
        assert_eq!(permits.ask(&"a", 4, &mut pace, at(0)), Answer::Granted(3));
    }

    #[test]
    fn a_permit_that_is_not_used_passes_on() {
        let mut pace = Pace::new(1.0, at(0));
        let mut permits = Permits::new(KEEP);
        assert_eq!(permits.ask(&"a", 1, &mut pace, at(0)), Answer::Granted(1));
        assert_eq!(permits.held(&"a", at(29_999)), 1);
        assert_eq!(permits.held(&"a", at(30_000)), 0);
        assert_eq!(permits.ask(&"b", 1, &mut pace, at(30_000)), Answer::Granted(1));
        assert_eq!(permits.held(&"b", at(30_000)), 1);
        assert_eq!(permits.held(&"a", at(30_000)), 0);
    }

    #[test]
    fn among_several_each_gets_one_call_at_a_time_in_order() {
        let mut pace = Pace::new(40.0, at(0));
        let mut permits = Permits::new(KEEP);
        assert_eq!(permits.ask(&"a", 4, &mut pace, at(0)), Answer::Granted(4));
        permits.use_up(&"a", 4, &mut pace);
        for key in ["b", "c", "d"] {
            assert!(matches!(permits.ask(&key, 4, &mut pace, at(0)), Answer::AskAgain(_)), "{key}");
        }
        // Four calls have gathered, and each in turn gets one of them; the last is alone and gets what is left.
        let mut granted = |key| permits.ask(&key, 4, &mut pace, at(1_000));
        assert_eq!(granted("b"), Answer::Granted(1));
        assert_eq!(granted("b"), Answer::Granted(1), "the same one, held");
        assert!(matches!(granted("d"), Answer::AskAgain(_)), "not before c");
        assert_eq!(granted("c"), Answer::Granted(1));
        assert_eq!(granted("d"), Answer::Granted(2));
    }

    #[test]
    fn a_turn_is_told_by_the_place_in_the_queue() {
        let mut pace = Pace::new(1.0, at(0));
        let mut permits = Permits::new(KEEP);
        assert_eq!(permits.ask(&"a", 1, &mut pace, at(0)), Answer::Granted(1));
        let micro = Duration::from_micros(1);
        let turns = |permits: &mut Permits<&str>, pace: &mut Pace, now| {
            ["b", "c", "d"].map(|key| permits.ask(&key, 1, pace, now))
        };
        let expected = [1_000, 2_000, 3_000].map(|ms| Answer::AskAgain(at(ms) + micro));
        assert_eq!(turns(&mut permits, &mut pace, at(0)), expected);
        assert_eq!(turns(&mut permits, &mut pace, at(0)), expected, "asked again, each keeps its place");
        permits.forget(&"b", &mut pace);
        assert_eq!(permits.ask(&"c", 1, &mut pace, at(0)), Answer::AskAgain(at(1_000) + micro));
        // Its turn has come, and whoever is before it has not.
        let Answer::AskAgain(d) = permits.ask(&"d", 1, &mut pace, at(5_000)) else { panic!("not before c") };
        assert_eq!(d, at(5_100));
    }

    #[test]
    fn whoever_is_first_asks_again_when_its_call_is_due_and_no_later() {
        let mut pace = Pace::new(40.0, at(0));
        let mut permits = Permits::new(KEEP);
        assert_eq!(permits.ask(&"a", 4, &mut pace, at(0)), Answer::Granted(4));
        permits.use_up(&"a", 4, &mut pace);
        let due = at(25) + Duration::from_micros(1);
        assert_eq!(permits.ask(&"first", 1, &mut pace, at(0)), Answer::AskAgain(due));
        assert_eq!(permits.ask(&"second", 1, &mut pace, at(0)), Answer::AskAgain(at(100)));
    }

    #[test]
    fn whoever_is_first_keeps_its_place_for_as_long_as_a_grant() {
        for (ms, kept) in [(31_000, true), (31_001, false)] {
            let mut pace = Pace::new(1.0, at(0));
            let mut permits = Permits::new(KEEP);
            assert_eq!(permits.ask(&"a", 1, &mut pace, at(0)), Answer::Granted(1));
            permits.use_up(&"a", 1, &mut pace);
            let Answer::AskAgain(turn) = permits.ask(&"first", 1, &mut pace, at(0)) else { panic!() };
            let second = permits.ask(&"second", 1, &mut pace, turn + Duration::from_millis(ms - 1_000));
            assert_eq!(matches!(second, Answer::AskAgain(_)), kept, "{ms}");
            // The first one itself comes as late as it likes, while nobody else came.
        }
        let mut pace = Pace::new(1.0, at(0));
        let mut permits = Permits::new(KEEP);
        assert_eq!(permits.ask(&"a", 1, &mut pace, at(0)), Answer::Granted(1));
        permits.forget(&"a", &mut pace);
        assert_eq!(permits.ask(&"b", 1, &mut pace, at(0)), Answer::Granted(1), "what it held went back");
        assert!(matches!(permits.ask(&"late", 1, &mut pace, at(0)), Answer::AskAgain(_)));
        assert_eq!(permits.ask(&"late", 1, &mut pace, at(90_000)), Answer::Granted(1));
    }

    #[test]
    fn whoever_does_not_come_back_loses_its_place() {
        let mut pace = Pace::new(1.0, at(0));
        let mut permits = Permits::new(KEEP);
        assert_eq!(permits.ask(&"a", 1, &mut pace, at(0)), Answer::Granted(1));
        permits.use_up(&"a", 1, &mut pace);
        assert!(matches!(permits.ask(&"gone", 1, &mut pace, at(0)), Answer::AskAgain(_)));
        assert!(matches!(permits.ask(&"b", 1, &mut pace, at(0)), Answer::AskAgain(_)));
        assert!(matches!(permits.ask(&"b", 1, &mut pace, at(30_000)), Answer::AskAgain(_)));
        assert_eq!(permits.ask(&"b", 1, &mut pace, at(32_000)), Answer::Granted(1));
    }

    #[test]
    fn whoever_waits_is_passed_by_each_other_at_most_once() {
        // Objects that always want four calls, each with calls of its own length; one asks late, and one comes late.
        let lasts = [0, 300, 1_200, 9_000, 40].map(Duration::from_millis);
        let late = [0, 40, 0, 0, 900].map(Duration::from_millis);
        let mut pace = Pace::new(2.0, at(0));
        let mut permits = Permits::new(KEEP);
        let mut asks = [at(0); 5];
        let mut passed = [[0; 5]; 5];
        let mut calls = [0; 5];
        while let Some(object) = (0..5).min_by_key(|object| asks[*object]).filter(|o| asks[*o] < at(600_000))
        {
            let now = asks[object];
            match permits.ask(&object, 4, &mut pace, now) {
                Answer::AskAgain(again) => asks[object] = again + late[object],
                Answer::Granted(granted) => {
                    permits.use_up(&object, granted, &mut pace);
                    calls[object] += granted;
                    passed[object] = [0; 5];
                    let waiting: Vec<_> = permits.waiting.iter().map(|(waiting, _)| *waiting).collect();
                    for other in waiting {
                        passed[other][object] += granted;
                        assert_eq!(passed[other][object], 1, "{object} passed {other} again");
                    }
                    asks[object] = now + lasts[object];
                }
            }
        }
        // Whoever asks again within a round has its call in every round.
        let most = calls.iter().max();
        assert!(calls.iter().enumerate().all(|(o, n)| o == 3 || Some(n + 2) >= most.copied()), "{calls:?}");
    }
}
