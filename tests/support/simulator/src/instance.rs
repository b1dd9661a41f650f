//! One instance and the course of its deletion.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{
    calendar::rfc3339,
    clock::millis,
    facts::{Facts, RowFacts},
    options::{EndTime, Vocabulary},
    power::PowerAction,
};

/// State of an instance that is being powered off, in the old vocabulary alone.
const STOPPING: &str = "stopping";

/// What ShowInstanceStatus answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// InstanceState, or whatever string was set by hand.
    pub state: String,
    /// `uninstall-processing` and so on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation_state: Option<String>,
    /// Present when something failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<StatusError>,
}

/// ErrorStatus of the vendor's model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusError {
    /// Code.
    pub error_code: String,
    /// Text.
    pub error_msg: String,
    /// `delete_instance_error` and so on.
    pub error_type: String,
}

impl Status {
    /// A state and nothing else.
    pub fn new(state: impl Into<String>) -> Self {
        Self { state: state.into(), operation_state: None, error: None }
    }
}

/// When the last deletion of an instance began and ends, whatever reads show. Times are counted from the start of the
/// simulator, like those of the log; time that was skipped is in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Course {
    /// The call was accepted.
    pub accepted: Duration,
    /// The instance is terminated, or falls to error; `None`: never.
    pub ends: Option<Duration>,
}

/// What an instance needs to know to move on by itself.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    pub(crate) seed: u64,
    pub(crate) end: EndTime,
    pub(crate) vanish_after: Option<Duration>,
    pub(crate) visibility_lag: Duration,
    pub(crate) user_data_bytes: usize,
    pub(crate) row_facts: RowFacts,
    pub(crate) running_deletable: bool,
    pub(crate) error_deletable: bool,
    pub(crate) refusals_named: bool,
    pub(crate) power_end: EndTime,
    pub(crate) vocabulary: Vocabulary,
}

#[derive(Debug, Clone)]
pub(crate) struct Instance {
    /// Place in lists.
    pub(crate) order: u64,
    pub(crate) id: String,
    facts: Facts,
    updated: Duration,
    actual: Status,
    /// Reads before this time see the older status.
    lag: Option<(Duration, Status)>,
    deletion: Option<Deletion>,
    pub(crate) course: Option<Course>,
    vanishes_at: Option<Duration>,
    attempts: u32,
    /// Overrides `Rules::end`.
    pub(crate) end: Option<EndTime>,
    /// That many deletions still fall to error.
    pub(crate) failures: u32,
    /// Overrides `Rules::power_end`.
    pub(crate) power_end: Option<EndTime>,
    /// That many power-offs of its server still fail.
    pub(crate) power_off_failures: u32,
}

#[derive(Debug, Clone, Copy)]
struct Deletion {
    ends_at: Option<Duration>,
    fails: bool,
}

impl Instance {
    /// `created_at` is RFC 3339.
    pub(crate) fn new(
        id: &str,
        order: u64,
        status: Status,
        now: Duration,
        created_at: &str,
        rules: &Rules,
    ) -> Self {
        let mut instance = Self {
            order,
            id: id.to_owned(),
            facts: Facts::of(rules.seed, id, created_at),
            updated: now,
            actual: Status::new(""),
            lag: None,
            deletion: None,
            course: None,
            vanishes_at: None,
            attempts: 0,
            end: None,
            failures: 0,
            power_end: None,
            power_off_failures: 0,
        };
        instance.set(status, now, rules);
        instance
    }

    /// By hand: whatever was under way is over, and reads see it at once.
    pub(crate) fn set(&mut self, status: Status, now: Duration, rules: &Rules) {
        self.actual = status;
        self.deletion = None;
        self.course = None;
        self.lag = None;
        self.updated = now;
        self.start_vanishing(now, rules);
    }

    pub(crate) fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Reads see it at once; the deletion goes on.
    pub(crate) fn set_facts(&mut self, facts: Facts, now: Duration) {
        self.facts = facts;
        self.updated = now;
    }

    fn start_vanishing(&mut self, ended_at: Duration, rules: &Rules) {
        let over = matches!(self.actual.state.as_str(), "terminated" | "teminated");
        self.vanishes_at = rules.vanish_after.filter(|_| over).map(|after| ended_at + after);
    }

    /// Brings the instance to where it is at `now`.
    pub(crate) fn settle(&mut self, now: Duration, rules: &Rules) {
        let Some(Deletion { ends_at: Some(ends_at), fails }) = self.deletion else { return };
        if now < ends_at {
            return;
        }
        self.deletion = None;
        self.updated = ends_at;
        let words = rules.vocabulary;
        self.actual = if fails {
            Status {
                state: words.error().to_owned(),
                operation_state: words.operation_state("uninstall-failed"),
                error: Some(StatusError {
                    error_code: "iMetal.0099".to_owned(),
                    error_msg: "Internal server error".to_owned(),
                    error_type: "delete_instance_error".to_owned(),
                }),
            }
        } else {
            Status {
                operation_state: words.operation_state("uninstall-succeed"),
                ..Status::new(words.terminated())
            }
        };
        self.start_vanishing(ends_at, rules);
    }

    fn vanished(&self, now: Duration) -> bool {
        self.vanishes_at.is_some_and(|at| at <= now)
    }

    /// What is so; `None` once it has vanished. Call [`Self::settle`] first.
    pub(crate) fn actual(&self, now: Duration) -> Option<&Status> {
        (!self.vanished(now)).then_some(&self.actual)
    }

    /// What reads say; `None` once it has vanished. Call [`Self::settle`] first.
    pub(crate) fn shown(&self, now: Duration) -> Option<&Status> {
        match &self.lag {
            Some((until, before)) if now < *until => Some(before),
            _ => self.actual(now),
        }
    }

    /// Whether the state diagrams have an edge to shutting-down. Call [`Self::settle`] first.
    pub(crate) fn deletable(&self, rules: &Rules) -> bool {
        match self.actual.state.as_str() {
            "pending" | "stopped" => true,
            "running" => rules.running_deletable,
            "error" | "failed" => rules.error_deletable,
            _ => false,
        }
    }

    /// Reads go on showing for a while what they show at this time.
    fn lag_behind(&mut self, at: Duration, rules: &Rules) {
        if !rules.visibility_lag.is_zero() {
            let shown = self.shown(at).unwrap_or(&self.actual).clone();
            self.lag = Some((at + rules.visibility_lag, shown));
        }
    }

    /// Whether an action on its server would switch it. Call [`Self::settle`] first.
    pub(crate) fn obeys(&self, action: PowerAction) -> bool {
        matches!(
            (self.actual.state.as_str(), action),
            ("running", PowerAction::Off | PowerAction::Reboot)
                | ("stopped", PowerAction::On | PowerAction::Reboot)
        )
    }

    /// The power-off of its server was accepted.
    pub(crate) fn begin_power_off(&mut self, now: Duration, rules: &Rules) {
        if self.actual.state == "running" && rules.vocabulary == Vocabulary::Old {
            self.lag_behind(now, rules);
            self.change_state(STOPPING, now);
        }
    }

    /// The power-off of its server failed.
    pub(crate) fn fail_power_off(&mut self, at: Duration) {
        if self.actual.state == STOPPING {
            self.change_state("running", at);
        }
    }

    /// Its server has been powered on or off by a call. Returns whether that changed its state: only a running or a stopped
    /// instance obeys.
    pub(crate) fn follow_power(&mut self, on: bool, at: Duration, rules: &Rules) -> bool {
        let state = match (on, self.actual.state.as_str()) {
            (true, "stopped") => "running",
            (false, "running") => "stopped",
            (false, STOPPING) if rules.vocabulary == Vocabulary::Old => "stopped",
            _ => return false,
        };
        self.lag_behind(at, rules);
        self.change_state(state, at);
        true
    }

    /// An operator powers it on or off: at once, and reads see it. False if it is neither running nor stopped.
    pub(crate) fn switch(&mut self, on: bool, now: Duration) -> bool {
        let obeys = matches!(self.actual.state.as_str(), "running" | "stopped" | STOPPING);
        if obeys {
            self.lag = None;
            self.change_state(if on { "running" } else { "stopped" }, now);
        }
        obeys
    }

    fn change_state(&mut self, state: &str, at: Duration) {
        state.clone_into(&mut self.actual.state);
        self.updated = at;
    }

    pub(crate) fn begin_deletion(&mut self, now: Duration, rules: &Rules) {
        self.lag_behind(now, rules);
        let end = self.end.as_ref().unwrap_or(&rules.end);
        let fails = self.failures > 0;
        self.failures -= u32::from(fails);
        let takes = end.draw(rules.seed, &self.id, self.attempts);
        self.attempts += 1;
        let ends_at = takes.map(|takes| now + takes);
        self.deletion = Some(Deletion { ends_at, fails });
        self.course = Some(Course { accepted: now, ends: ends_at });
        self.updated = now;
        self.actual = Status {
            operation_state: rules.vocabulary.operation_state("uninstall-processing"),
            ..Status::new("shutting-down")
        };
    }

    /// QueryInstanceResponseBody: an item of ListInstances.
    pub(crate) fn list_item(&self, status: &Status, started_unix_ms: u64, rules: &Rules) -> Value {
        let mut item = Map::new();
        item.insert("id".to_owned(), json!(self.id));
        item.insert("state".to_owned(), json!(status.state));
        item.insert("updated_at".to_owned(), json!(rfc3339(started_unix_ms + millis(self.updated))));
        if rules.user_data_bytes > 0 {
            // As base64 has them: zeros.
            item.insert("user_data".to_owned(), json!("A".repeat(rules.user_data_bytes)));
        }
        if let Some(operation_state) = &status.operation_state {
            item.insert("operation_state".to_owned(), json!(operation_state));
        }
        if let Some(error) = &status.error {
            item.insert("error".to_owned(), json!(error));
        }
        self.facts.write(&mut item, rules.row_facts);
        Value::Object(item)
    }

    /// Whether it is terminated or has vanished, so that it is on its server no more. Call [`Self::settle`] first.
    pub(crate) fn gone(&self, now: Duration) -> bool {
        match self.actual(now).map(|status| status.state.as_str()) {
            None | Some("terminated" | "teminated") => true,
            Some(_) => false,
        }
    }
}
