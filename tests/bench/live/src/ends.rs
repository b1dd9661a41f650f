//! How soon after the end of an instance a read showed it, and how many reads that took.

use std::{collections::HashMap, time::Duration};

use clouddc_simulator::{Course, Entry};

use crate::{
    BenchError,
    cloud_log::is_read,
    figure::{Figure, Sample, mean, number},
    scenario::READ,
};

type Courses = HashMap<String, Course>;

/// Figures of a run in which every id of these objects has ended and was seen to have.
pub fn figures(log: &[Entry], courses: &Courses, objects: &[Vec<String>]) -> Result<Sample, BenchError> {
    let reads: Vec<&Entry> = log.iter().filter(|entry| is_read(entry)).collect();
    let before = reads.iter().filter(|read| precedes_calls(read, courses)).count();
    let rounds = objects.iter().map(Vec::len).sum::<usize>().div_ceil(READ);
    let seen = first_reads(&reads, courses);
    let (mut late, mut last_ends) = (Vec::new(), Vec::new());
    for ids in objects {
        let mut last: Option<LastEnd> = None;
        for id in ids {
            let never = || BenchError::NeverRead(id.clone());
            let course = courses.get(id).ok_or_else(never)?;
            let (ends, seen) = (course.ends.ok_or_else(never)?, *seen.get(id.as_str()).ok_or_else(never)?);
            late.push(seen.saturating_sub(ends).as_secs_f64());
            let this = LastEnd { accepted: course.accepted, ends, seen };
            last = Some(last.map_or(this, |last| last.and(this)));
        }
        last_ends.extend(last.map(LastEnd::ratio));
    }
    let longest = late.iter().copied().reduce(f64::max);
    let mut sample = Sample::from([
        (Figure::FirstReads, number(before)),
        (Figure::Reads, number(reads.len() - before) / number(rounds)),
    ]);
    let further =
        [(Figure::Lateness, mean(&late)), (Figure::Longest, longest), (Figure::LastEnd, mean(&last_ends))];
    sample.extend(further.into_iter().filter_map(|(figure, value)| Some((figure, value?))));
    Ok(sample)
}

/// How long the slowest deletion took.
#[must_use]
pub fn slowest(courses: &Courses) -> Duration {
    let took = courses.values().filter_map(|course| Some(course.ends?.saturating_sub(course.accepted)));
    took.max().unwrap_or_default()
}

/// Of an object.
#[derive(Clone, Copy)]
struct LastEnd {
    /// When the id was accepted that ended last.
    accepted: Duration,
    /// When that one ended.
    ends: Duration,
    /// When the last of all was seen, be it that one or not.
    seen: Duration,
}

impl LastEnd {
    fn and(self, other: Self) -> Self {
        let later = if other.ends > self.ends { other } else { self };
        Self { seen: self.seen.max(other.seen), ..later }
    }

    fn ratio(self) -> f64 {
        let since = |moment: Duration| moment.saturating_sub(self.accepted).as_secs_f64();
        since(self.seen) / since(self.ends)
    }
}

/// Whether none of its ids was accepted when it came.
fn precedes_calls(read: &Entry, courses: &Courses) -> bool {
    let came = Duration::from_millis(read.received_ms);
    let accepted = |id: &String| courses.get(id).is_some_and(|course| course.accepted <= came);
    !read.ids.iter().any(accepted)
}

/// When the reply was ready that was the first to show the end of each id, or its absence.
fn first_reads<'a>(reads: &[&'a Entry], courses: &Courses) -> HashMap<&'a str, Duration> {
    let mut first = HashMap::new();
    let answered: Vec<&Entry> =
        reads.iter().copied().filter(|read| matches!(read.status, Some(200 | 404))).collect();
    // What had ended when a read came, it surely shows. Of what ended while it was carried out the log, which has
    // milliseconds, can't tell: it counts only if no later read was made.
    let surely = |read: &Entry| read.received_ms;
    let perhaps = |read: &Entry| read.effect_ms.map_or(0, |effect| effect + 1);
    for shows in [surely as fn(&Entry) -> u64, perhaps] {
        for read in &answered {
            let shows = Duration::from_millis(shows(read));
            let Some(finished) = read.finished_ms.map(Duration::from_millis) else { continue };
            for id in &read.ids {
                let ends = courses.get(id).and_then(|course| course.ends);
                if ends.is_some_and(|ends| ends <= shows) {
                    first.entry(id.as_str()).or_insert(finished);
                }
            }
        }
    }
    first
}

#[cfg(test)]
mod tests {
    use clouddc_simulator::Operation;

    use super::*;
    use crate::cloud_log::tests::{entry, shown};

    fn course(accepted: u64, ends: u64) -> Course {
        Course { accepted: Duration::from_secs(accepted), ends: Some(Duration::from_secs(ends)) }
    }

    fn objects(all: &[&[&str]]) -> Vec<Vec<String>> {
        all.iter().map(|ids| ids.iter().map(|id| (*id).to_owned()).collect()).collect()
    }

    fn read(second: u64, ids: &[&str]) -> Entry {
        entry(Operation::ListInstances, second, ids, 200)
    }

    #[test]
    fn reads_of_ids_that_no_call_has_named_are_the_first_look() {
        let courses = Courses::from([("a".to_owned(), course(10, 20)), ("b".to_owned(), course(12, 20))]);
        let log = [
            read(1, &["a", "b"]),
            read(11, &["b"]),
            read(11, &["a", "b"]),
            entry(Operation::ShowInstanceStatus, 30, &["a"], 200),
            read(31, &["b"]),
            read(32, &["a", "b"]),
        ];
        let figures = figures(&log, &courses, &objects(&[&["a", "b"]])).unwrap();
        assert_eq!(shown(&figures, Figure::FirstReads), "2.000");
        assert_eq!(shown(&figures, Figure::Reads), "4.000");
    }

    #[test]
    fn lateness_runs_to_the_reply_of_the_first_read_that_shows_the_end() {
        let courses = Courses::from([("a".to_owned(), course(0, 100)), ("b".to_owned(), course(0, 60))]);
        let log = [
            read(99, &["a"]),
            entry(Operation::ListInstances, 101, &["a", "b"], 429),
            read(110, &["a"]),
            read(120, &["a", "b"]),
        ];
        let figures = figures(&log, &courses, &objects(&[&["a"], &["b"]])).unwrap();
        assert_eq!(shown(&figures, Figure::Longest), "60.100", "b");
        assert_eq!(shown(&figures, Figure::Lateness), "35.100");
        assert_eq!(
            shown(&figures, Figure::LastEnd),
            "1.551",
            "of 110.1 s over 100 s, and of 120.1 s over 60 s"
        );
        assert_eq!(slowest(&courses), Duration::from_secs(100));
    }

    #[test]
    fn an_object_is_over_when_its_last_end_is_seen_whichever_id_that_is() {
        let courses = Courses::from([("a".to_owned(), course(20, 120)), ("b".to_owned(), course(0, 119))]);
        let log = [read(121, &["a"]), read(130, &["b"])];
        let figures = figures(&log, &courses, &objects(&[&["a", "b"]])).unwrap();
        assert_eq!(shown(&figures, Figure::LastEnd), "1.101", "130.1 s, of a deletion from 20 s to 120 s");
    }

    #[test]
    fn an_end_that_nobody_has_read_is_an_error() {
        let courses = Courses::from([("a".to_owned(), course(0, 100))]);
        let unread = figures(&[read(99, &["a"])], &courses, &objects(&[&["a"]]));
        assert!(matches!(unread, Err(BenchError::NeverRead(id)) if id == "a"));
        let running = Courses::from([("a".to_owned(), Course { ends: None, ..course(0, 0) })]);
        assert!(figures(&[read(99, &["a"])], &running, &objects(&[&["a"]])).is_err());
    }

    #[test]
    fn a_read_in_the_millisecond_of_the_end_counts_if_none_came_later() {
        let ends = Some(Duration::from_micros(100_000_400));
        let courses = Courses::from([("a".to_owned(), Course { ends, ..course(0, 0) })]);
        let alone = figures(&[read(100, &["a"])], &courses, &objects(&[&["a"]])).unwrap();
        assert!(alone[&Figure::Longest] < 0.1);
        let later = figures(&[read(100, &["a"]), read(105, &["a"])], &courses, &objects(&[&["a"]])).unwrap();
        assert!(later[&Figure::Longest] > 5.0);
    }
}
