//! The power of physical servers, and the actions that change it.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use serde::{Deserialize, Serialize};

/// `action` of ChangeServerPowerState.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PowerAction {
    /// `power on`
    #[serde(rename = "power on")]
    On,
    /// `power off`
    #[serde(rename = "power off")]
    Off,
    /// `rebooting`
    #[serde(rename = "rebooting")]
    Reboot,
}

/// How far an action has come: the end of a server's `operation_state`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    Processing,
    Succeed,
    Failed,
}

/// The course of one action on one server. Times are counted from the start of the simulator, like those of
/// [`Course`](crate::Course); time that was skipped is in them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PowerCourse {
    /// What was asked for.
    pub action: PowerAction,
    /// The server.
    pub server: String,
    /// The instance that was on it when the call was accepted.
    pub instance: Option<String>,
    /// When the call was accepted.
    pub accepted: Duration,
    /// When the action ends, or would have ended; `None`: never.
    pub ends: Option<Duration>,
    /// The action fails: the power stays as it is.
    pub fails: bool,
    /// When the action changed the state of the instance; `None` if it did not, or not yet. A `power off` makes a running
    /// instance stopped, a `power on` a stopped one running.
    pub changed: Option<Duration>,
}

/// The power of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Power {
    /// Id of the server.
    pub server: String,
    /// `power_state` is `on`, else `off`.
    pub on: bool,
    /// `operation_state` of the server, such as `power-off-processing`; `None` before the first action.
    pub operation_state: Option<String>,
}

impl Power {
    /// `power_state`.
    #[must_use]
    pub fn state(&self) -> &'static str {
        if self.on { "on" } else { "off" }
    }
}

impl PowerAction {
    /// The beginning of `operation_state`.
    fn operation(self) -> &'static str {
        match self {
            Self::On => "power-on",
            Self::Off => "power-off",
            Self::Reboot => "reboot",
        }
    }

    /// Whether the server is on afterwards.
    pub(crate) fn leaves_on(self) -> bool {
        match self {
            Self::On | Self::Reboot => true,
            Self::Off => false,
        }
    }
}

impl Progress {
    fn text(self) -> &'static str {
        match self {
            Self::Processing => "processing",
            Self::Succeed => "succeed",
            Self::Failed => "failed",
        }
    }
}

#[derive(Debug)]
struct Server {
    on: bool,
    /// The last action.
    action: Option<(PowerAction, Progress)>,
    actions: u32,
}

/// The servers of a project, and what was done to their power.
#[derive(Debug, Default)]
pub(crate) struct Servers {
    by_id: HashMap<String, Server>,
    /// All courses, in the order in which they began.
    courses: Vec<PowerCourse>,
    /// Places of the courses under way, by server.
    under_way: BTreeMap<String, usize>,
}

impl Servers {
    fn server(&mut self, id: &str) -> &mut Server {
        let new = || Server { on: true, action: None, actions: 0 };
        self.by_id.entry(id.to_owned()).or_insert_with(new)
    }

    /// Sets the power by hand: what is under way is over, and changes nothing any more. `by` is the action of an operator.
    pub(crate) fn set(&mut self, id: &str, on: bool, by: Option<PowerAction>) {
        self.under_way.remove(id);
        let server = self.server(id);
        server.on = on;
        server.action = by.map(|action| (action, Progress::Succeed));
    }

    /// Ends what is under way at the server for this instance, without any effect.
    pub(crate) fn abandon(&mut self, id: &str, instance: &str) {
        let course = self.under_way.get(id).and_then(|at| self.courses.get(*at));
        if course.is_some_and(|course| course.instance.as_deref() == Some(instance)) {
            self.under_way.remove(id);
            self.server(id).action = None;
        }
    }

    pub(crate) fn power(&self, id: &str) -> Power {
        let (on, action) = self.by_id.get(id).map_or((true, None), |server| (server.on, server.action));
        let words = |(action, progress): (PowerAction, Progress)| {
            format!("{}-{}", action.operation(), progress.text())
        };
        Power { server: id.to_owned(), on, operation_state: action.map(words) }
    }

    /// Whether an action is under way.
    pub(crate) fn busy(&self, id: &str) -> bool {
        self.under_way.contains_key(id)
    }

    /// How many actions the server has begun: each draws a time of its own.
    pub(crate) fn actions(&self, id: &str) -> u32 {
        self.by_id.get(id).map_or(0, |server| server.actions)
    }

    /// Begins an action. One that asks for the power that is there succeeds at once.
    pub(crate) fn begin(&mut self, course: PowerCourse) {
        let server = self.server(&course.server);
        server.actions += 1;
        let there = course.action != PowerAction::Reboot && server.on == course.action.leaves_on();
        server.action = Some((course.action, if there { Progress::Succeed } else { Progress::Processing }));
        if there {
            let ends = Some(course.accepted);
            self.courses.push(PowerCourse { ends, fails: false, ..course });
        } else {
            self.under_way.insert(course.server.clone(), self.courses.len());
            self.courses.push(course);
        }
    }

    /// Ends the actions whose time has come, and returns their places: what they do to instances is the caller's.
    pub(crate) fn end(&mut self, now: Duration) -> Vec<usize> {
        let over =
            |at: &usize| self.courses.get(*at).and_then(|one| one.ends).is_some_and(|ends| ends <= now);
        let mut ended: Vec<usize> = self.under_way.values().copied().filter(over).collect();
        ended.sort_by_key(|at| self.courses.get(*at).and_then(|one| one.ends));
        for at in &ended {
            let Some(PowerCourse { action, server, fails, .. }) = self.courses.get(*at).cloned() else {
                continue;
            };
            self.under_way.remove(&server);
            let server = self.server(&server);
            server.action = Some((action, if fails { Progress::Failed } else { Progress::Succeed }));
            server.on = if fails { server.on } else { action.leaves_on() };
        }
        ended
    }

    pub(crate) fn course(&self, at: usize) -> Option<&PowerCourse> {
        self.courses.get(at)
    }

    /// Enters that the action at this place changed the state of its instance.
    pub(crate) fn changed(&mut self, at: usize, when: Duration) {
        if let Some(course) = self.courses.get_mut(at) {
            course.changed = Some(when);
        }
    }

    pub(crate) fn courses(&self) -> &[PowerCourse] {
        &self.courses
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    fn course(action: PowerAction, at: u64, takes: Option<u64>, fails: bool) -> PowerCourse {
        PowerCourse {
            action,
            server: "a".to_owned(),
            instance: Some("i".to_owned()),
            accepted: S(at),
            ends: takes.map(|takes| S(at + takes)),
            fails,
            changed: None,
        }
    }

    #[test]
    fn an_action_has_its_states_and_its_end() {
        use PowerAction::{Off, On, Reboot};
        // The power before; the action, whether it fails; the words and the power until its end and then.
        let table = [
            (true, Off, false, ("power-off-processing", true), ("power-off-succeed", false)),
            (true, Off, true, ("power-off-processing", true), ("power-off-failed", true)),
            (false, Off, true, ("power-off-succeed", false), ("power-off-succeed", false)),
            (false, On, false, ("power-on-processing", false), ("power-on-succeed", true)),
            (false, On, true, ("power-on-processing", false), ("power-on-failed", false)),
            (true, On, false, ("power-on-succeed", true), ("power-on-succeed", true)),
            (true, Reboot, false, ("reboot-processing", true), ("reboot-succeed", true)),
            (true, Reboot, true, ("reboot-processing", true), ("reboot-failed", true)),
            (false, Reboot, false, ("reboot-processing", false), ("reboot-succeed", true)),
        ];
        for (on, action, fails, before, after) in table {
            let mut servers = Servers::default();
            servers.set("a", on, None);
            assert_eq!(servers.power("a").operation_state, None);
            servers.begin(course(action, 10, Some(5), fails));
            let shown = |servers: &Servers| {
                let Power { on, operation_state, .. } = servers.power("a");
                (operation_state.unwrap(), on)
            };
            servers.end(S(14));
            assert_eq!(shown(&servers), (before.0.to_owned(), before.1), "{action:?} {fails}");
            assert_eq!(servers.busy("a"), before.0.ends_with("processing"), "{action:?} {fails}");
            servers.end(S(15));
            assert_eq!(shown(&servers), (after.0.to_owned(), after.1), "{action:?} {fails}");
            assert!(!servers.busy("a"));
        }
    }

    #[test]
    fn what_is_set_by_hand_ends_what_is_under_way() {
        let mut servers = Servers::default();
        servers.begin(course(PowerAction::Off, 0, Some(5), false));
        servers.set("a", true, Some(PowerAction::On));
        assert_eq!((servers.busy("a"), servers.end(S(9)).len()), (false, 0));
        assert_eq!(servers.power("a").operation_state.as_deref(), Some("power-on-succeed"));
        servers.begin(course(PowerAction::Off, 10, None, false));
        assert!(servers.end(S(1_000_000)).is_empty() && servers.busy("a"), "it never ends");
        servers.abandon("a", "another");
        assert!(servers.busy("a"), "it is about another instance");
        servers.abandon("a", "i");
        assert!(!servers.busy("a"));
        assert_eq!((servers.courses().len(), servers.actions("a")), (2, 2));
    }
}
