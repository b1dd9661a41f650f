//! One value for each kind of call.

use crate::api::CallKind;

/// One value for each kind of call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ByKind<T> {
    /// That of delete calls.
    pub delete: T,
    /// That of calls that power off.
    pub power_off: T,
}

impl<T> ByKind<T> {
    /// The value of a kind.
    #[must_use]
    pub fn of(&self, kind: CallKind) -> &T {
        match kind {
            CallKind::Delete => &self.delete,
            CallKind::PowerOff => &self.power_off,
        }
    }

    /// The value of a kind, to change it.
    pub fn of_mut(&mut self, kind: CallKind) -> &mut T {
        match kind {
            CallKind::Delete => &mut self.delete,
            CallKind::PowerOff => &mut self.power_off,
        }
    }

    /// Both values.
    pub fn each(&self) -> [&T; 2] {
        [&self.delete, &self.power_off]
    }

    /// Both values, to change them.
    pub fn each_mut(&mut self) -> [&mut T; 2] {
        [&mut self.delete, &mut self.power_off]
    }
}
