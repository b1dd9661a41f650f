//! What can be scripted to go wrong.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{durations, log::Operation};

/// Something that happens to matching requests.
///
/// The order is: `delay_before`, `hold` before, `drop_connection` before, **the effect**, `delay_after`, `hold` after,
/// `drop_connection` after, the reply. Of several matching faults the one scripted first wins; one that still skips or
/// is used up does not match.
///
/// ```
/// use clouddc_simulator::{Fault, Operation, Stage};
///
/// let lost_reply = Fault::on(Operation::DeleteInstances).times(1).drop_connection(Stage::AfterEffect);
/// let overload = Fault::on(Operation::DeleteInstances).skip(2).reply_error(503, "APIGW.0613", "IAM is down");
/// let partial = Fault::on(Operation::DeleteInstances).times(1).return_first(10);
/// # let _ = (lost_reply, overload, partial);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Fault {
    /// Name in the log; `fault-N` if empty.
    pub name: String,
    /// Only this operation.
    pub operation: Option<Operation>,
    /// Only this project.
    pub project: Option<String>,
    /// Only requests with the token or access key of this label, or of the user of this name.
    pub token: Option<String>,
    /// Only requests that contain one of these ids, or change the power of a server with one of these instances.
    pub ids: Vec<String>,
    /// The first matching requests are let through.
    pub skip: u64,
    /// How many requests it happens to; `None`: always.
    pub times: Option<u64>,
    /// Waits before the effect.
    #[serde(with = "durations::text")]
    pub delay_before: Duration,
    /// Waits between the effect and the reply.
    #[serde(with = "durations::text")]
    pub delay_after: Duration,
    /// Waits until released.
    pub hold: Option<Stage>,
    /// Closes the connection without a reply.
    pub drop_connection: Option<Stage>,
    /// Replies something else.
    pub reply: Option<CannedReply>,
    /// An accepted DeleteInstances or ChangeServerPowerState returns only these of its ids.
    pub return_only: Option<Part>,
    /// The ids that `return_only` keeps back are deleted, or their power changed, nevertheless.
    pub delete_rest: bool,
    /// Further ids in the reply of DeleteInstances, ChangeServerPowerState or ListInstances.
    pub add_ids: Vec<String>,
    /// Ids missing from the reply of ListInstances.
    pub omit_ids: Vec<String>,
    /// The next marker of a page of ListInstances leads to the same page again.
    pub repeat_page: bool,
    /// So many rows between a page of ListInstances and the next are on neither.
    pub lose_rows: usize,
    /// The last so many rows of a page of ListInstances are on the next one again.
    pub repeat_rows: usize,
}

/// On which side of the effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The cloud has done nothing yet.
    BeforeEffect,
    /// The cloud has done what was asked.
    AfterEffect,
}

/// Some of the ids of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The first so many.
    First(usize),
    /// Those that are in this list.
    Ids(Vec<String>),
}

/// A reply made up by the test.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CannedReply {
    /// HTTP status.
    pub status: u16,
    /// Headers; there are no other ones but `X-Request-Id` and, unless given here, `Date`.
    pub headers: BTreeMap<String, String>,
    /// Body as sent.
    pub body: String,
    /// Whether the operation is carried out nevertheless.
    pub apply_effect: bool,
}

impl Fault {
    /// Happens to every request.
    #[must_use]
    pub fn any() -> Self {
        Self::default()
    }

    /// Happens to requests of this operation.
    #[must_use]
    pub fn on(operation: Operation) -> Self {
        Self { operation: Some(operation), ..Self::default() }
    }

    /// Name in the log.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Only in this project.
    #[must_use]
    pub fn in_project(mut self, project: impl Into<String>) -> Self {
        self.project = Some(project.into());
        self
    }

    /// Only with the token or access key of this label, or of the user of this name.
    ///
    /// Listing, for instance, is forbidden to one of them like this:
    ///
    /// ```
    /// use clouddc_simulator::{Fault, Operation};
    ///
    /// let may_not_list = Fault::on(Operation::ListInstances).with_token("narrow").reply_error(
    ///     403,
    ///     "iMetal.0004",
    ///     "Insufficient permissions",
    /// );
    /// # let _ = may_not_list;
    /// ```
    #[must_use]
    pub fn with_token(mut self, label: impl Into<String>) -> Self {
        self.token = Some(label.into());
        self
    }

    /// Only requests that contain this id, or another one given in the same way. A power call contains the ids of its servers
    /// and of the instances on them.
    #[must_use]
    pub fn with_id(mut self, id: impl Into<String>) -> Self {
        self.ids.push(id.into());
        self
    }

    /// The first `n` matching requests are let through.
    #[must_use]
    pub fn skip(mut self, n: u64) -> Self {
        self.skip = n;
        self
    }

    /// Happens only `n` times.
    #[must_use]
    pub fn times(mut self, n: u64) -> Self {
        self.times = Some(n);
        self
    }

    /// Waits before the effect.
    #[must_use]
    pub fn delay_before(mut self, delay: Duration) -> Self {
        self.delay_before = delay;
        self
    }

    /// Waits between the effect and the reply.
    #[must_use]
    pub fn delay_after(mut self, delay: Duration) -> Self {
        self.delay_after = delay;
        self
    }

    /// Waits until [`FaultHandle::release`](crate::FaultHandle::release).
    #[must_use]
    pub fn hold(mut self, stage: Stage) -> Self {
        self.hold = Some(stage);
        self
    }

    /// Closes the connection without a reply.
    #[must_use]
    pub fn drop_connection(mut self, stage: Stage) -> Self {
        self.drop_connection = Some(stage);
        self
    }

    /// Replies this instead; nothing is carried out unless [`Self::apply_effect`] is called too.
    #[must_use]
    pub fn reply(mut self, status: u16, content_type: &str, body: impl Into<String>) -> Self {
        let headers = BTreeMap::from([("Content-Type".to_owned(), content_type.to_owned())]);
        self.reply = Some(CannedReply { status, headers, body: body.into(), apply_effect: false });
        self
    }

    /// [`Self::reply`] with JSON.
    #[must_use]
    pub fn reply_json(self, status: u16, body: &Value) -> Self {
        self.reply(status, "application/json", body.to_string())
    }

    /// [`Self::reply`] with `{"error_code","error_msg"}`.
    #[must_use]
    pub fn reply_error(self, status: u16, code: &str, message: &str) -> Self {
        self.reply_json(status, &json!({"error_code": code, "error_msg": message}))
    }

    /// A header of the canned reply.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.reply.get_or_insert_default().headers.insert(name.into(), value.into());
        self
    }

    /// The operation is carried out before the canned reply.
    #[must_use]
    pub fn apply_effect(mut self) -> Self {
        self.reply.get_or_insert_default().apply_effect = true;
        self
    }

    /// A 202 returns only the first `n` ids; the others are not deleted.
    #[must_use]
    pub fn return_first(mut self, n: usize) -> Self {
        self.return_only = Some(Part::First(n));
        self
    }

    /// A 202 returns only these ids; the others are not deleted.
    #[must_use]
    pub fn return_only(mut self, ids: impl IntoIterator<Item = String>) -> Self {
        self.return_only = Some(Part::Ids(ids.into_iter().collect()));
        self
    }

    /// The ids that a partial 202 does not return are deleted nevertheless.
    #[must_use]
    pub fn delete_rest(mut self) -> Self {
        self.delete_rest = true;
        self
    }

    /// A further id in the reply.
    #[must_use]
    pub fn add_id(mut self, id: impl Into<String>) -> Self {
        self.add_ids.push(id.into());
        self
    }

    /// An id missing from the reply of ListInstances.
    #[must_use]
    pub fn omit_id(mut self, id: impl Into<String>) -> Self {
        self.omit_ids.push(id.into());
        self
    }

    /// The next marker of a page leads to the same page again.
    #[must_use]
    pub fn repeat_page(mut self) -> Self {
        self.repeat_page = true;
        self
    }

    /// So many rows between a page and the next are on neither.
    #[must_use]
    pub fn lose_rows(mut self, n: usize) -> Self {
        self.lose_rows = n;
        self
    }

    /// The last so many rows of a page are on the next one again.
    #[must_use]
    pub fn repeat_rows(mut self, n: usize) -> Self {
        self.repeat_rows = n;
        self
    }

    /// By how many rows the beginning of the next page is moved.
    pub(crate) fn moved_rows(&self) -> isize {
        let rows = |n: usize| isize::try_from(n).unwrap_or(isize::MAX);
        rows(self.lose_rows) - rows(self.repeat_rows)
    }
}

impl Part {
    pub(crate) fn of(&self, ids: &[String]) -> Vec<String> {
        match self {
            Self::First(n) => ids.iter().take(*n).cloned().collect(),
            Self::Ids(list) => ids.iter().filter(|id| list.contains(id)).cloned().collect(),
        }
    }
}
