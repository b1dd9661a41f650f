//! The most ids in one delete call of an account: 50, or fewer where the cloud refuses larger calls.

use std::time::Duration;

use crate::engine::{settings::BATCH_SIZE, time::Mono};

/// How long a smaller size is kept. A cloud that still refuses larger calls then refuses two more.
const KEPT_FOR: Duration = Duration::from_hours(1);

/// A batch that was refused without names, and all of whose ids were then accepted in smaller calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TooLarge {
    /// Number of ids in the batch.
    pub size: usize,
    /// Number of ids in the largest call that was accepted.
    pub accepted: usize,
}

/// Tracks how many ids the cloud accepts in one delete call of an account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct BatchSize {
    /// When a full batch was found too large, and no full batch has been accepted since.
    suspected: Option<Mono>,
    /// The most ids in one call, and until when that holds.
    smaller: Option<(usize, Mono)>,
}

/// A change of the size of an account's batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SizeChange {
    /// From now on a call names at most this many ids.
    Smaller(usize),
    /// Calls are full again.
    Full,
}

impl BatchSize {
    /// The most ids in one call.
    #[must_use]
    pub fn in_force(&self, now: Mono) -> usize {
        self.smaller.filter(|(_, until)| now < *until).map_or(BATCH_SIZE, |(size, _)| size)
    }

    /// Enters a batch that was too large. One may be refused for a passing reason; a second full one
    /// in a row tells that it is the size.
    pub fn too_large(&mut self, batch: TooLarge, now: Mono) -> Option<SizeChange> {
        if batch.size < self.in_force(now) {
            return None;
        }
        let Some(_) = self.suspected.filter(|at| now - *at < KEPT_FOR) else {
            self.suspected = Some(now);
            return None;
        };
        *self = Self { suspected: None, smaller: Some((batch.accepted, now + KEPT_FOR)) };
        Some(SizeChange::Smaller(batch.accepted))
    }

    /// Enters how many ids of a call the cloud accepted.
    pub fn accepted(&mut self, ids: usize, now: Mono) -> Option<SizeChange> {
        let most = self.in_force(now);
        if ids >= most {
            self.suspected = None;
        }
        if ids <= most {
            return None;
        }
        self.smaller = None;
        Some(SizeChange::Full)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::object::tests::case::{MICRO, just_before, then};

    fn too_large(size: usize, accepted: usize) -> TooLarge {
        TooLarge { size, accepted }
    }

    /// Two full batches were too large.
    fn learned() -> BatchSize {
        let mut size = BatchSize::default();
        assert_eq!(size.too_large(too_large(50, 25), then()), None);
        assert_eq!(size.in_force(then()), 50, "once proves nothing");
        assert_eq!(size.too_large(too_large(50, 13), then()), Some(SizeChange::Smaller(13)));
        size
    }

    #[test]
    fn x16_a_smaller_size_is_learned_from_two_full_batches_in_a_row() {
        assert_eq!(learned().in_force(then()), 13);
        let mut size = BatchSize::default();
        for _ in 0..9 {
            assert_eq!(size.too_large(too_large(49, 25), then()), None, "a rest proves nothing");
        }
        for _ in 0..9 {
            assert_eq!(size.too_large(too_large(50, 25), then()), None);
            assert_eq!(size.accepted(50, then()), None, "a full batch in between");
        }
        assert_eq!(size.too_large(too_large(50, 25), then()), None);
        let late = then() + KEPT_FOR;
        assert_eq!(size.too_large(too_large(50, 25), late), None, "long after the first");
        assert_eq!(size.accepted(49, late), None, "that of a rest says nothing");
        assert_eq!(size.too_large(too_large(50, 25), late), Some(SizeChange::Smaller(25)));
    }

    #[test]
    fn x16_a_smaller_size_is_forgotten_after_an_hour_or_when_a_larger_call_is_accepted() {
        let over = then() + KEPT_FOR;
        let size = learned();
        assert_eq!([just_before(over), over, over + MICRO].map(|at| size.in_force(at)), [13, 50, 50]);
        let mut size = learned();
        assert_eq!((size.accepted(13, then()), size.in_force(then())), (None, 13));
        assert_eq!((size.accepted(14, then()), size.in_force(then())), (Some(SizeChange::Full), 50));
        assert_eq!(size.too_large(too_large(50, 25), then()), None, "as at the start");
    }

    #[test]
    fn x16_a_size_that_is_still_too_large_is_learned_the_same_way() {
        let mut size = learned();
        assert_eq!(size.too_large(too_large(13, 7), then()), None);
        assert_eq!(size.too_large(too_large(13, 7), then()), Some(SizeChange::Smaller(7)));
        assert_eq!(size.in_force(then()), 7);
    }
}
