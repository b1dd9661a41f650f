//! Gathers looks into reads. 100 ids leave at once, and so does the rest of a look of more; a smaller look waits for others
//! while they come, so that objects that start together share their reads.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque, btree_map::Entry},
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
    vec,
};

use tokio::{sync::OwnedSemaphorePermit, time::Instant};

use super::{
    call::FailedCall,
    look::{Look, LookHandler, Reading},
};
use crate::engine::{InstanceId, outcome::LookFailure, settings::READ_SIZE};

/// Time without a new look after which a read leaves though it is not full. Objects that start together arrive within it.
const GATHER: Duration = Duration::from_secs(1);
/// Longest wait of a look for others, however many keep coming.
const LONGEST: Duration = Duration::from_secs(3);

/// Number of a look, in the order of registration.
pub type LookId = u64;

/// An instance of a read, with the looks that want it.
#[derive(Debug)]
pub struct Target {
    /// The instance.
    pub id: InstanceId,
    /// The looks.
    pub looks: Vec<LookId>,
    /// A reading has been told.
    pub read: bool,
}

/// Targets whose read is over.
pub struct Finished {
    /// What was to be read.
    pub targets: Vec<Target>,
    /// Why not every id was; `None` if every id was.
    pub failure: Option<LookFailure>,
}

/// A look that is not over.
struct OpenLook {
    /// Ids whose read is not over.
    left: usize,
    failure: Option<LookFailure>,
    /// `None` once it was told of the end.
    handler: Option<Box<dyn LookHandler>>,
}

/// Ids of one look that wait for a read, and that no earlier look waits for; never empty.
struct Waiting {
    ids: vec::IntoIter<InstanceId>,
    came: Instant,
    /// When their read leaves at the latest.
    due: Instant,
    _room: Option<OwnedSemaphorePermit>,
}

/// All looks that are not over.
#[derive(Default)]
pub struct Coalescer {
    next: LookId,
    open: HashMap<LookId, OpenLook>,
    /// In the order of registration.
    waiting: VecDeque<Waiting>,
    /// When the last of them came.
    last_came: Option<Instant>,
    /// For each waiting id the look that wanted it first. A tree, since it shrinks as it empties.
    wanted_by: BTreeMap<InstanceId, LookId>,
    /// Further looks that want a waiting id. Few ids have any.
    wanted_too: HashMap<InstanceId, Vec<LookId>>,
}

impl Coalescer {
    /// Takes a look in. An id that waits already is read once for all. An id whose read has begun is read again: a reading
    /// counts only if its call was sent after the look was registered.
    pub fn register(&mut self, look: Look, now: Instant) {
        let id = self.next;
        self.next += 1;
        let Look { mut ids, handler, room } = look;
        // The rest of a look of more than one read would be a read of its own anyway.
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
        let open = OpenLook { left, failure: None, handler: Some(handler) };
        if left == 0 {
            open.end();
        } else {
            self.open.insert(id, open);
        }
    }

    /// When the next read may leave; `None` if no id waits.
    pub fn due(&self) -> Option<Instant> {
        let came = self.waiting.front()?.came;
        if self.wanted_by.len() >= READ_SIZE {
            return Some(came);
        }
        let quiet = self.last_came.map(|last| last + GATHER);
        self.waiting.iter().map(|waiting| waiting.due).chain(quiet).min()
    }

    /// Takes the ids of the next read; none if no id waits.
    pub fn take(&mut self) -> Vec<Target> {
        let mut targets = Vec::with_capacity(READ_SIZE.min(self.wanted_by.len()));
        while targets.len() < READ_SIZE
            && let Some(front) = self.waiting.front_mut()
        {
            let room = READ_SIZE - targets.len();
            for id in front.ids.by_ref().take(room) {
                let first = self.wanted_by.remove(&id);
                let further = self.wanted_too.remove(&id).unwrap_or_default();
                let looks = first.into_iter().chain(further).collect();
                targets.push(Target { id, looks, read: false });
            }
            if front.ids.len() == 0 {
                self.waiting.pop_front();
            }
        }
        targets
    }

    /// Tells a reading to these looks.
    pub fn tell(&mut self, looks: &[LookId], reading: &Reading) {
        for look in looks {
            if let Some(handler) = self.open.get_mut(look).and_then(|open| open.handler.as_mut()) {
                guarded(|| handler.reading(reading));
            }
        }
    }

    /// Tells these looks that some of their ids take longer than others.
    pub fn delayed(&mut self, looks: &BTreeSet<LookId>) {
        for look in looks {
            if let Some(handler) = self.open.get_mut(look).and_then(|open| open.handler.as_mut()) {
                guarded(|| handler.delayed());
            }
        }
    }

    /// Notes that the read of some targets is over, and ends the looks that wait for no other.
    pub fn over(&mut self, finished: Finished) {
        let Finished { targets, failure } = finished;
        for Target { looks, read, .. } in targets {
            for look in looks {
                let Some(open) = self.open.get_mut(&look) else { continue };
                open.left -= 1;
                if !read {
                    open.missed(failure.as_ref());
                }
                if open.left == 0
                    && let Some(open) = self.open.remove(&look)
                {
                    open.end();
                }
            }
        }
    }

    /// Whether no id waits for a read.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether every look is over.
    pub fn is_done(&self) -> bool {
        self.open.is_empty()
    }
}

impl OpenLook {
    /// Notes why an id was not read. The look keeps a failure that concerns all ids rather than one that may concern a single id.
    fn missed(&mut self, failure: Option<&LookFailure>) {
        let of_all = |failure: &LookFailure| !failure.trouble.may_be_of_one_instance();
        if !self.failure.as_ref().is_some_and(of_all) {
            self.failure = failure.cloned();
        }
    }

    fn end(mut self) {
        let failure = self.failure.take();
        self.tell(failure);
    }

    fn tell(&mut self, failure: Option<LookFailure>) {
        if let Some(handler) = self.handler.take() {
            guarded(|| handler.ended(failure));
        }
    }
}

impl Drop for OpenLook {
    /// Ends a look that a panic of the reader cuts off: its object would wait for it for ever.
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.tell(Some(FailedCall::cut_off().failure));
        }
    }
}

/// Runs a handler's code. A panic in it ends nothing else.
fn guarded(handle: impl FnOnce()) {
    // The panic hook has written it to the log.
    let _ = catch_unwind(AssertUnwindSafe(handle));
}

#[cfg(test)]
mod tests {
    use std::{ops::Range, sync::Arc};

    use tokio::sync::{Semaphore, oneshot};

    use super::*;
    use crate::{
        cloud::reader::{
            call::FailedCall,
            tests::handlers::{Answer, collect},
        },
        engine::{
            Mono,
            state::{Live, Seen},
        },
    };

    fn look(coalescer: &mut Coalescer, ids: Range<u128>, now: Instant) -> oneshot::Receiver<Answer> {
        look_with(coalescer, ids, now, None)
    }

    fn look_with(
        coalescer: &mut Coalescer,
        ids: Range<u128>,
        now: Instant,
        room: Option<OwnedSemaphorePermit>,
    ) -> oneshot::Receiver<Answer> {
        let (handler, answer) = collect();
        coalescer.register(Look { ids: ids.map(InstanceId::from_u128).collect(), handler, room }, now);
        answer
    }

    /// Reads those of the targets that `can_be` says, and fails the rest.
    fn read(coalescer: &mut Coalescer, mut targets: Vec<Target>, can_be: impl Fn(InstanceId) -> bool) {
        for target in targets.iter_mut().filter(|target| can_be(target.id)) {
            target.read = true;
            let reading = Reading {
                id: target.id,
                seen: Seen::Live(Live::Running),
                read: Mono::START.into(),
                facts: None,
            };
            coalescer.tell(&target.looks, &reading);
        }
        let failure = targets.iter().any(|target| !target.read).then(|| FailedCall::cut_off().failure);
        coalescer.over(Finished { targets, failure });
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
        let taken: Vec<_> = coalescer.take().into_iter().map(|target| target.id).collect();
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
        assert_eq!(coalescer.due(), Some(start + LONGEST + GATHER), "a look that comes after it waits anew");
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
        let targets = coalescer.take();
        assert_eq!(targets.len(), 3);
        let mut late = look(&mut coalescer, 0..1, now);
        read(&mut coalescer, targets, |_| true);
        assert_eq!(a.try_recv().unwrap().readings.len(), 2);
        assert_eq!(b.try_recv().unwrap().readings.len(), 2);
        assert!(late.try_recv().is_err(), "its read was sent before it was asked for");
        let targets = coalescer.take();
        read(&mut coalescer, targets, |_| true);
        assert_eq!(late.try_recv().unwrap().readings.len(), 1);
        assert!(coalescer.is_done());
    }

    #[tokio::test]
    async fn an_id_named_twice_in_a_look_is_read_once() {
        let (mut coalescer, now) = (Coalescer::default(), Instant::now());
        let (handler, mut answered) = collect();
        coalescer.register(Look { ids: vec![InstanceId::from_u128(1); 2], handler, room: None }, now);
        let targets = coalescer.take();
        read(&mut coalescer, targets, |_| true);
        assert_eq!(answered.try_recv().unwrap().readings.len(), 1);
    }

    #[tokio::test]
    async fn a_failure_comes_with_what_was_read() {
        let (mut coalescer, now) = (Coalescer::default(), Instant::now());
        let (mut both, mut second) = (look(&mut coalescer, 0..2, now), look(&mut coalescer, 1..2, now));
        let targets = coalescer.take();
        read(&mut coalescer, targets, |id| id == InstanceId::from_u128(1));
        let both = both.try_recv().unwrap();
        assert_eq!((both.readings.len(), both.failure.is_some()), (1, true));
        assert_eq!(second.try_recv().unwrap().failure, None, "all of its ids were read");
    }
    /// Panics at whatever it is told.
    struct PanickingHandler;
    impl LookHandler for PanickingHandler {
        fn reading(&mut self, _: &Reading) {
            panic!("a bug");
        }

        fn ended(self: Box<Self>, _: Option<LookFailure>) {
            panic!("a bug");
        }
    }

    #[tokio::test]
    async fn a_handler_that_panics_keeps_no_other_look_from_its_readings() {
        let (mut coalescer, now) = (Coalescer::default(), Instant::now());
        let ids = vec![InstanceId::from_u128(0)];
        coalescer.register(Look { ids, handler: Box::new(PanickingHandler), room: None }, now);
        let mut other = look(&mut coalescer, 0..1, now);
        let targets = coalescer.take();
        read(&mut coalescer, targets, |_| true);
        assert_eq!(other.try_recv().unwrap().readings.len(), 1);
        assert!(coalescer.is_done());
    }
}
