//! One instance and the course of its deletion.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    calendar::rfc3339,
    clock::millis,
    options::{EndTime, Vocabulary},
    random::Random,
};

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
    pub(crate) running_deletable: bool,
    pub(crate) error_deletable: bool,
    pub(crate) vocabulary: Vocabulary,
}

#[derive(Debug, Clone)]
pub(crate) struct Instance {
    /// Place in lists.
    pub(crate) order: u64,
    pub(crate) id: String,
    pub(crate) server_id: String,
    vpc_id: String,
    subnet_id: String,
    image_id: String,
    created: Duration,
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
}

#[derive(Debug, Clone, Copy)]
struct Deletion {
    ends_at: Option<Duration>,
    fails: bool,
}

impl Instance {
    pub(crate) fn new(id: &str, order: u64, status: Status, now: Duration, rules: &Rules) -> Self {
        let mut random = Random::for_name(rules.seed, id, u64::MAX);
        let mut instance = Self {
            order,
            id: id.to_owned(),
            server_id: random.uuid(4, None),
            vpc_id: random.uuid(4, None),
            subnet_id: random.uuid(4, None),
            image_id: random.uuid(4, None),
            created: now,
            updated: now,
            actual: Status::new(""),
            lag: None,
            deletion: None,
            course: None,
            vanishes_at: None,
            attempts: 0,
            end: None,
            failures: 0,
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

    pub(crate) fn begin_deletion(&mut self, now: Duration, rules: &Rules) {
        if !rules.visibility_lag.is_zero() {
            let shown = self.shown(now).unwrap_or(&self.actual).clone();
            self.lag = Some((now + rules.visibility_lag, shown));
        }
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
        let wall = |time: Duration| rfc3339(started_unix_ms + millis(time));
        let mut item = json!({
            "id": self.id,
            "name": format!("instance-{}", self.order),
            "description": "",
            "vpc_id": self.vpc_id,
            "network_interfaces": [{
                "subnet_id": self.subnet_id,
                "ipv4_address": format!("10.{}.{}.{}", self.order >> 16 & 0xff, self.order >> 8 & 0xff, self.order & 0xff),
            }],
            "tags": [],
            "metadata": {},
            "image": {"id": self.image_id, "name": "Ubuntu 22.04 server 64bit", "os_type": "Linux"},
            "state": status.state,
            "server_id": self.server_id,
            "created_at": wall(self.created),
            "updated_at": wall(self.updated),
            "launched_at": wall(self.created),
        });
        if rules.user_data_bytes > 0 {
            // As base64 has them: zeros.
            item["user_data"] = json!("A".repeat(rules.user_data_bytes));
        }
        if let Some(operation_state) = &status.operation_state {
            item["operation_state"] = json!(operation_state);
        }
        if let Some(error) = &status.error {
            item["error"] = json!(error);
        }
        item
    }
}
