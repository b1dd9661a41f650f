//! The API server: compare-and-swap, and answers that get lost.

use crate::{
    Model,
    judge::Judge,
    world::{Object, Step, Stored, World, WriteAnswer},
};

/// What becomes of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// Stored if nothing was written since the read, and answered.
    Answered,
    /// As before, and the answer is lost.
    AnswerLost,
    /// Stored, and the answer is 409: something between sent it twice.
    ConflictAfterSuccess,
    /// It never arrives.
    Lost,
}

impl Model {
    /// A write reaches the API server, or doesn't.
    pub fn arrive(&self, world: &mut World, w: usize, how: Arrival, judge: &mut Judge) {
        let write = world.writes.remove(w);
        let current = world.object.as_ref().is_some_and(|object| object.uid == write.uid);
        let stored = how != Arrival::Lost && current && write.fresh;
        if stored {
            Self::changed(world);
            if let Some(object) = &mut world.object {
                judge.stored(object, &write.stored);
                object.stored = write.stored.clone();
            }
            for (facts, base) in world.facts.iter_mut().zip(&write.base) {
                facts.base = facts.base.max(*base);
            }
            if let Some(p) = write.owner {
                for position in &write.settles {
                    let call = &mut world.processes[p].known[*position].call;
                    // A further call may have left meanwhile.
                    *call = if *call == 2 { 0 } else { *call };
                }
            }
        }
        let answer = match how {
            Arrival::Answered if stored => WriteAnswer::Stored,
            Arrival::Answered | Arrival::ConflictAfterSuccess => WriteAnswer::Conflict,
            Arrival::AnswerLost | Arrival::Lost => WriteAnswer::Lost,
        };
        if let Some(p) = write.owner
            && let Step::Writing(writing) = &mut world.processes[p].step
        {
            writing.answer = Some(answer);
        }
    }

    /// The process gives its write up, which is still on its way.
    pub fn time_out(world: &mut World, w: usize) {
        if let Some(p) = world.writes[w].owner.take()
            && let Step::Writing(writing) = &mut world.processes[p].step
        {
            writing.answer = Some(WriteAnswer::Lost);
        }
    }

    /// The object has a new resourceVersion: no read of it is the newest any more.
    pub fn changed(world: &mut World) {
        for write in &mut world.writes {
            write.fresh = false;
        }
        for process in &mut world.processes {
            match &mut process.step {
                Step::Idle => {}
                Step::HasRead(read) => read.fresh = false,
                Step::Writing(writing) => writing.read.fresh = false,
            }
        }
    }

    /// Someone edits the spec: everyone hears of it.
    pub fn edit(&self, world: &mut World, edit: impl FnOnce(&mut Object)) {
        Self::changed(world);
        if let Some(object) = &mut world.object {
            edit(object);
            object.generation += 1;
        }
        Self::wake_all(world);
    }

    /// Someone deletes the object, or creates it anew.
    pub fn replace(&self, world: &mut World) {
        Self::changed(world);
        if world.object.take().is_none() {
            world.uid += 1;
            world.object = Some(Object {
                uid: world.uid,
                generation: 1,
                suspend: false,
                limit: self.configuration.limit,
                leaving: false,
                stored: Stored::new(engine_purity::api::InstanceDeletionStatus::default()),
            });
            Self::judge_new_object(world);
        }
        Self::wake_all(world);
    }

    /// The guard says something else now: every process hears of it.
    pub fn guard_changed(world: &mut World) {
        let memories = world.processes.iter_mut().filter_map(|process| process.memory.as_mut());
        for memory in memories {
            memory.guards_changed();
        }
        Self::wake_all(world);
    }

    fn wake_all(world: &mut World) {
        world.processes.iter_mut().filter(|process| process.up).for_each(|process| process.woken = true);
    }
}
