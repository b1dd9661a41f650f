//! Bodies of replies, and the memory that all of them together may take.

use std::{ops::Deref, sync::Arc};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes of a body that take nothing from the budget: nearly every reply is smaller, and is read however much others take.
const FREE: usize = 64 << 10;
/// Bytes that all larger bodies of the process may take at once: eight lists of the largest size. Without a bound, each account
/// could fill sixteen of them.
const BUDGET: usize = 32 << 20;
/// A permit of the budget stands for this many bytes.
const UNIT: usize = 1 << 10;

/// The memory for bodies. Clones share it.
#[derive(Clone)]
pub struct ReplyRoom(Arc<Semaphore>);

impl Default for ReplyRoom {
    fn default() -> Self {
        Self::of(BUDGET)
    }
}

impl ReplyRoom {
    /// Room for this many bytes.
    pub fn of(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes / UNIT)))
    }

    /// An empty body.
    pub fn body(&self) -> ReplyBody {
        ReplyBody { bytes: Vec::new(), covered: FREE, room: Some(self.clone()), taken: None }
    }

    fn take(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let units = u32::try_from(bytes.div_ceil(UNIT)).ok()?;
        self.0.clone().try_acquire_many_owned(units).ok()
    }
}

/// The body of a reply. Its memory goes back to the budget when it is dropped.
pub struct ReplyBody {
    bytes: Vec<u8>,
    /// Bytes that the free part and the permits cover.
    covered: usize,
    room: Option<ReplyRoom>,
    taken: Option<OwnedSemaphorePermit>,
}

/// The bodies of other replies take all of the memory.
pub struct NoRoom;

impl ReplyBody {
    /// Appends bytes. Fails at once if other bodies take the memory: waiting for it could make a delete call's outcome unknown.
    pub fn extend(&mut self, chunk: &[u8]) -> Result<(), NoRoom> {
        let needed = self.bytes.len() + chunk.len();
        if let Some(room) = self.room.as_ref().filter(|_| needed > self.covered) {
            // Doubling keeps the number of copies small.
            let more = needed.max(self.covered * 2) - self.covered;
            let permit = room.take(more).ok_or(NoRoom)?;
            match &mut self.taken {
                Some(taken) => taken.merge(permit),
                None => self.taken = Some(permit),
            }
            self.covered += more;
            self.bytes.reserve_exact(self.covered - self.bytes.len());
        }
        self.bytes.extend_from_slice(chunk);
        Ok(())
    }
}

impl From<Vec<u8>> for ReplyBody {
    /// A body that takes nothing from a budget: that of a transport without a network.
    fn from(bytes: Vec<u8>) -> Self {
        Self { bytes, covered: 0, room: None, taken: None }
    }
}

impl Deref for ReplyBody {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s12_all_bodies_together_take_no_more_than_the_budget_and_small_ones_always_find_room() {
        let room = ReplyRoom::of(1 << 20);
        let chunk = vec![7; 8 << 10];
        let mut bodies = Vec::new();
        for _ in 0..100 {
            let mut body = room.body();
            while body.len() < (4 << 20) && body.extend(&chunk).is_ok() {}
            bodies.push(body);
        }
        let large: usize = bodies.iter().map(|body| body.bytes.capacity().saturating_sub(FREE)).sum();
        assert!(large <= 1 << 20, "{large}");
        assert!(bodies.iter().all(|body| body.len() >= FREE), "what is free is read");
        assert!(bodies.iter().all(|body| body.iter().all(|byte| *byte == 7)));
        bodies.clear();
        let mut body = room.body();
        assert!(body.extend(&vec![7; 1 << 20]).is_ok(), "it went back");
        assert!(room.body().extend(&vec![7; FREE + 65 * UNIT]).is_err());
    }

    #[test]
    fn a_body_of_one_byte_after_the_other_is_what_was_sent() {
        let mut body = ReplyRoom::default().body();
        let sent: Vec<u8> = (0..200_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        for byte in sent.chunks(1) {
            assert!(body.extend(byte).is_ok());
        }
        assert!(*body == sent[..]);
    }
}
