//! Looks that wait, gathered into calls: a full call of 100 ids goes at once, and so does the rest of a look of more; a
//! smaller look waits for others while they come, so that objects that start together share their calls.

use std::{
    collections::{BTreeMap, HashMap, VecDeque, btree_map::Entry},
    time::Duration,
    vec,
};

use tokio::{
    sync::{OwnedSemaphorePermit, oneshot},
    time::Instant,
};

use super::{Answer, Reading, fetch::FetchResult};
use crate::engine::{InstanceId, settings::READ_SIZE};

/// No call is filled up any more when no look has come for so long,
const GATHER: Duration = Duration::from_secs(1);
/// or when its first look has waited for so long.
const LONGEST: Duration = Duration::from_secs(3);

/// A look as it is registered.
pub struct Look {
    /// What to look at.
    pub ids: Vec<InstanceId>,
    /// Who wants to know.
    pub answer: oneshot::Sender<Answer>,
    /// Given back once all of it is in calls.
    pub room: Option<OwnedSemaphorePermit>,
}

type LookId = u64;

/// A look that is not answered yet.
struct Open {
    left: usize,
    gathered: Answer,
    answer: oneshot::Sender<Answer>,
}

/// Ids of a look that are to be read and that no earlier look waits for; never none.
struct Waiting {
    ids: vec::IntoIter<InstanceId>,
    came: Instant,
    /// When their call goes at the latest.
    due: Instant,
    _room: Option<OwnedSemaphorePermit>,
}

/// Ids of one call, with the looks that want them.
pub type Wanted = Vec<(InstanceId, Vec<LookId>)>;

/// All looks that are not answered yet.
#[derive(Default)]
pub struct Coalescer {
    next: LookId,
    open: HashMap<LookId, Open>,
    /// First come, first read.
    waiting: VecDeque<Waiting>,
    /// When the last of them came.
    last_came: Option<Instant>,
    /// The look that each waiting id was first wanted by. A tree, since it grows and shrinks with the ids that wait.
    wanted_by: BTreeMap<InstanceId, LookId>,
    /// Further looks that want it. Few ids have any, and all ids of an account may wait.
    wanted_too: HashMap<InstanceId, Vec<LookId>>,
}

impl Coalescer {
    /// Takes a look in. An id that waits already is asked once for all; one whose call has begun is asked again: a look
    /// counts only if it was sent after it was asked for.
    pub fn register(&mut self, look: Look, now: Instant) {
        let id = self.next;
        self.next += 1;
        let Look { mut ids, answer, room } = look;
        // Whoever asks for more than one call's worth does not wait for the rest: it would be a call of its own anyway.
        let due = if ids.len() > READ_SIZE { now } else { now + LONGEST };
        let mut left = 0;
        ids.retain(|instance| match self.wanted_by.entry(*instance) {
            Entry::Vacant(entry) => {
                entry.insert(id);
                left += 1;
                true
            }
            Entry::Occupied(first) => {
                if *first.get() != id {
                    let wanted_too = self.wanted_too.entry(*instance).or_default();
                    if wanted_too.last() != Some(&id) {
                        wanted_too.push(id);
                        left += 1;
                    }
                }
                false
            }
        });
        if !ids.is_empty() {
            self.last_came = Some(now);
            self.waiting.push_back(Waiting { ids: ids.into_iter(), came: now, due, _room: room });
        }
        if left == 0 {
            let _ = answer.send(Answer::default());
            return;
        }
        self.open.insert(id, Open { left, gathered: Answer::default(), answer });
    }

    /// When the next call may go: a full one at once.
    pub fn due(&self) -> Option<Instant> {
        let came = self.waiting.front()?.came;
        if self.wanted_by.len() >= READ_SIZE {
            return Some(came);
        }
        let quiet = self.last_came.map(|last| last + GATHER);
        self.waiting.iter().map(|waiting| waiting.due).chain(quiet).min()
    }

    /// The ids of the next call.
    pub fn take(&mut self) -> Wanted {
        let mut wanted = Vec::with_capacity(READ_SIZE.min(self.wanted_by.len()));
        while wanted.len() < READ_SIZE
            && let Some(front) = self.waiting.front_mut()
        {
            let room = READ_SIZE - wanted.len();
            for id in front.ids.by_ref().take(room) {
                let first = self.wanted_by.remove(&id);
                let further = self.wanted_too.remove(&id).unwrap_or_default();
                wanted.push((id, first.into_iter().chain(further).collect()));
            }
            if front.ids.len() == 0 {
                self.waiting.pop_front();
            }
        }
        wanted
    }

    /// Enters what a call came to, and answers the looks of which nothing is missing any more.
    pub fn answered(&mut self, wanted: Wanted, result: FetchResult) {
        let readings: HashMap<InstanceId, Reading> = result.readings.into_iter().map(|r| (r.id, r)).collect();
        for (id, looks) in wanted {
            for look in looks {
                let Some(open) = self.open.get_mut(&look) else { continue };
                open.left -= 1;
                match readings.get(&id) {
                    Some(reading) => open.gathered.readings.push(reading.clone()),
                    None => open.gathered.failure.clone_from(&result.failure),
                }
                if open.left == 0
                    && let Some(open) = self.open.remove(&look)
                {
                    // Whoever asked may have gone.
                    let _ = open.answer.send(open.gathered);
                }
            }
        }
    }

    /// Whether every look is answered.
    pub fn is_done(&self) -> bool {
        self.open.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::Semaphore;

    use super::*;
    use crate::engine::{
        Mono,
        state::{Live, Seen},
    };

    fn look(
        coalescer: &mut Coalescer,
        ids: std::ops::Range<u128>,
        now: Instant,
    ) -> oneshot::Receiver<Answer> {
        look_with(coalescer, ids, now, None)
    }

    fn look_with(
        coalescer: &mut Coalescer,
        ids: std::ops::Range<u128>,
        now: Instant,
        room: Option<OwnedSemaphorePermit>,
    ) -> oneshot::Receiver<Answer> {
        let (answer, answered) = oneshot::channel();
        coalescer.register(Look { ids: ids.map(InstanceId::from_u128).collect(), answer, room }, now);
        answered
    }

    fn read(wanted: &Wanted) -> FetchResult {
        let reading = |id| Reading { id, seen: Seen::Live(Live::Running), sent: Mono::START };
        FetchResult { readings: wanted.iter().map(|(id, _)| reading(*id)).collect(), failure: None }
    }

    #[tokio::test]
    async fn room_is_given_back_once_all_of_a_look_is_in_calls() {
        let (mut coalescer, start) = (Coalescer::default(), Instant::now());
        let room = Arc::new(Semaphore::new(200));
        let take = |n| room.clone().try_acquire_many_owned(n).ok();
        let _first = look_with(&mut coalescer, 0..150, start, take(150));
        let _same = look_with(&mut coalescer, 0..50, start, take(50));
        assert_eq!(room.available_permits(), 50, "nothing new is to be read for the second");
        coalescer.take();
        assert_eq!(room.available_permits(), 50);
        coalescer.take();
        assert_eq!(room.available_permits(), 200, "though no call is answered yet");
    }

    #[tokio::test]
    async fn a_full_call_goes_at_once_and_a_rest_when_no_more_has_come_for_a_second() {
        let (mut coalescer, start) = (Coalescer::default(), Instant::now());
        assert_eq!(coalescer.due(), None);
        let _first = look(&mut coalescer, 0..60, start);
        assert_eq!(coalescer.due(), Some(start + GATHER));
        let later = start + GATHER / 2;
        let _second = look(&mut coalescer, 50..130, later);
        assert_eq!(coalescer.due(), Some(start), "130 distinct ids wait");
        let taken: Vec<_> = coalescer.take().into_iter().map(|(id, _)| id).collect();
        assert_eq!(taken, (0..100).map(InstanceId::from_u128).collect::<Vec<_>>(), "first come, first read");
        assert_eq!(coalescer.due(), Some(later + GATHER), "the rest waits from when it came");
    }

    #[tokio::test]
    async fn looks_that_come_one_after_the_other_share_a_call() {
        let (mut coalescer, start) = (Coalescer::default(), Instant::now());
        let mut looks = Vec::new();
        for n in 0..6 {
            let now = start + GATHER / 2 * u32::try_from(n).unwrap();
            assert!(n == 0 || coalescer.due() > Some(now), "{n}: it waits for this one");
            looks.push(look(&mut coalescer, n..n + 1, now));
            assert_eq!(coalescer.due(), Some((now + GATHER).min(start + LONGEST)), "{n}");
        }
        assert_eq!(coalescer.due(), Some(start + LONGEST), "but not for ever");
        assert_eq!(coalescer.take().len(), 6);
        let _next = look(&mut coalescer, 50..51, start + LONGEST);
        assert_eq!(coalescer.due(), Some(start + LONGEST + GATHER), "whoever comes after it waits anew");
    }

    #[tokio::test]
    async fn the_rest_of_a_look_of_more_than_one_call_waits_for_nobody() {
        let (mut coalescer, now) = (Coalescer::default(), Instant::now());
        let _large = look(&mut coalescer, 0..120, now);
        assert_eq!(coalescer.take().len(), 100);
        assert_eq!(coalescer.due(), Some(now));
        let _small = look(&mut coalescer, 500..501, now);
        assert_eq!(coalescer.take().len(), 21, "and takes along what waits");
        assert_eq!(coalescer.due(), None);
    }

    #[tokio::test]
    async fn one_reading_answers_all_who_wait_and_nobody_who_comes_later() {
        let (mut coalescer, now) = (Coalescer::default(), Instant::now());
        let (mut a, mut b) = (look(&mut coalescer, 0..2, now), look(&mut coalescer, 1..3, now));
        let mut none = look(&mut coalescer, 0..0, now);
        assert_eq!(none.try_recv(), Ok(Answer::default()), "a look at nothing is over");
        let wanted = coalescer.take();
        assert_eq!(wanted.len(), 3);
        let mut late = look(&mut coalescer, 0..1, now);
        let result = read(&wanted);
        coalescer.answered(wanted, result);
        assert_eq!(a.try_recv().unwrap().readings.len(), 2);
        assert_eq!(b.try_recv().unwrap().readings.len(), 2);
        assert!(late.try_recv().is_err(), "its read was sent before it was asked for");
        let wanted = coalescer.take();
        let result = read(&wanted);
        coalescer.answered(wanted, result);
        assert_eq!(late.try_recv().unwrap().readings.len(), 1);
        assert!(coalescer.is_done());
    }

    #[tokio::test]
    async fn an_id_named_twice_in_a_look_is_read_once() {
        let (mut coalescer, now) = (Coalescer::default(), Instant::now());
        let (answer, mut answered) = oneshot::channel();
        coalescer.register(Look { ids: vec![InstanceId::from_u128(1); 2], answer, room: None }, now);
        let wanted = coalescer.take();
        let result = read(&wanted);
        coalescer.answered(wanted, result);
        assert_eq!(answered.try_recv().unwrap().readings.len(), 1);
    }

    #[tokio::test]
    async fn a_failure_comes_with_what_was_read() {
        let (mut coalescer, now) = (Coalescer::default(), Instant::now());
        let (mut both, mut second) = (look(&mut coalescer, 0..2, now), look(&mut coalescer, 1..2, now));
        let wanted = coalescer.take();
        let mut result = FetchResult { failure: FetchResult::cut_off().failure, ..read(&wanted) };
        result.readings.retain(|r| r.id == InstanceId::from_u128(1));
        coalescer.answered(wanted, result);
        let both = both.try_recv().unwrap();
        assert_eq!((both.readings.len(), both.failure.is_some()), (1, true));
        assert_eq!(second.try_recv().unwrap().failure, None, "all of its ids were read");
    }
}
