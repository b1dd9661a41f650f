//! How many ids a list may name. A proxy may cut off long request lines, and a cloud may refuse long lists: the size that
//! works is remembered, so that lists are not split anew at each look.

use std::time::Duration;

use tokio::time::Instant;

use crate::engine::settings::READ_SIZE;

/// How long a smaller size is kept. Then one list of full size finds out whether the reason is gone.
const KEPT: Duration = Duration::from_mins(30);

/// Sizes of the lists of one read in which a list failed and smaller ones brought every id. In ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Ids of the smallest list that failed.
    pub failed: usize,
    /// Ids of the largest list that was answered.
    pub answered: usize,
    /// Whether the cloud refused a list, rather than not answering it. An outage of a second looks like the latter.
    pub refused: bool,
    /// When the read began.
    pub began: Instant,
}

/// The size of the lists of one reader.
#[derive(Debug)]
pub struct ListSize {
    most: usize,
    /// When `most` was found; `None` while it is [`READ_SIZE`].
    found: Option<Instant>,
    /// Evidence for a smaller size: ids of the largest list that was answered, and when that was noted.
    hint: Option<(usize, Instant)>,
}

impl Default for ListSize {
    fn default() -> Self {
        Self { most: READ_SIZE, found: None, hint: None }
    }
}

impl ListSize {
    /// Most ids that the next list may name.
    pub fn most(&mut self, now: Instant) -> usize {
        if self.found.is_some_and(|found| now >= found + KEPT) {
            (self.most, self.found) = (READ_SIZE, None);
        }
        self.most
    }

    /// Notes that a list of this size was answered.
    pub fn answered(&mut self, size: usize) {
        if self.hint.is_some_and(|(hint, _)| size > hint) {
            self.hint = None;
        }
    }

    /// Notes a read in which lists failed, and every id was read in smaller ones. A refusal is believed at once, and
    /// silence only the second time: a cloud that does not answer one list in a hundred would be asked four times as often.
    pub fn split(&mut self, sizes: Sizes, now: Instant) {
        let Sizes { failed, answered, refused, began } = sizes;
        // Where a list of the same size was answered, the size was not why the other failed.
        if answered == 0 || answered >= failed {
            return;
        }
        if refused || self.hint.is_some_and(|(_, noted)| began >= noted) {
            (self.most, self.found) = (answered, Some(now));
        }
        self.hint.get_or_insert((answered, now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(failed: usize, answered: usize, refused: bool, began: Instant) -> Sizes {
        Sizes { failed, answered, refused, began }
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_size_is_believed_at_once_and_silence_the_second_time() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut size = ListSize::default();
        size.split(sizes(100, 25, true, start), start);
        assert_eq!(size.most(start), 25);

        let mut size = ListSize::default();
        size.split(sizes(100, 25, false, at(0)), at(1));
        size.split(sizes(100, 25, false, at(0)), at(2));
        assert_eq!(size.most(at(2)), 100, "both began before it was noted: one moment of silence");
        size.split(sizes(100, 25, false, at(2)), at(3));
        assert_eq!(size.most(at(3)), 25);
    }

    #[tokio::test(start_paused = true)]
    async fn a_size_is_learned_only_where_no_list_as_large_was_answered() {
        let start = Instant::now();
        for (failed, answered) in [(25, 25), (7, 25), (100, 0)] {
            let mut size = ListSize::default();
            size.split(sizes(failed, answered, true, start), start);
            assert_eq!(size.most(start), 100, "{failed} failed, {answered} were answered");
        }
        let mut size = ListSize::default();
        size.split(sizes(100, 25, false, start), start);
        size.answered(25);
        size.answered(100);
        size.split(sizes(100, 25, false, start), start);
        assert_eq!(size.most(start), 100, "a full list was answered in between");
    }

    #[tokio::test(start_paused = true)]
    async fn the_full_size_is_tried_again_after_half_an_hour_and_one_failure_more_keeps_the_smaller() {
        let start = Instant::now();
        let mut size = ListSize::default();
        size.split(sizes(100, 25, false, start), start);
        size.split(sizes(100, 25, false, start), start);
        assert_eq!([KEPT / 2, KEPT].map(|after| size.most(start + after)), [25, 100]);
        size.split(sizes(100, 25, false, start + KEPT), start + KEPT);
        assert_eq!(size.most(start + KEPT), 25);
    }
}
