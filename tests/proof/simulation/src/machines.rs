//! Faults of processes and of their machines.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::time::sleep;

use crate::{
    process::start,
    sim::{Life, Sim},
};

/// A process dies at once; another one starts this much later.
pub fn crash(sim: &Arc<Sim>, process: usize, restart_after: Duration) {
    let died = sim.at(|state, moment| {
        let Some(handle) = state.processes.get(process) else { return false };
        if *handle.life.borrow() == Life::Dead {
            return false;
        }
        handle.life.send_replace(Life::Dead);
        if let Some(driver) = &handle.driver {
            driver.abort();
        }
        if let Some(process) = state.record.processes.get_mut(process) {
            process.died = Some(moment);
        }
        state.trace.add(moment.at, format_args!("process {process} dies"));
        true
    });
    if died {
        let sim = sim.clone();
        tokio::spawn(async move {
            sleep(restart_after).await;
            start(&sim);
        });
    }
}

/// A process stands still: nothing that it sends leaves, nothing that it waits for comes.
pub fn freeze(sim: &Arc<Sim>, process: usize, how_long: Duration) {
    let frozen = sim.at(|state, moment| {
        let Some(handle) = state.processes.get(process) else { return false };
        if *handle.life.borrow() != Life::Running {
            return false;
        }
        handle.life.send_replace(Life::Frozen);
        if let Some(process) = state.record.processes.get_mut(process) {
            process.frozen.push((moment, moment.at + how_long));
        }
        state.trace.add(moment.at, format_args!("process {process} stands still for {how_long:?}"));
        true
    });
    if frozen {
        let sim = sim.clone();
        tokio::spawn(async move {
            sleep(how_long).await;
            sim.at(|state, moment| {
                if let Some(handle) = state.processes.get(process)
                    && *handle.life.borrow() == Life::Frozen
                {
                    handle.life.send_replace(Life::Running);
                    state.trace.add(moment.at, format_args!("process {process} goes on"));
                }
            });
        });
    }
}

/// The wall clock of a process jumps.
pub fn jump(sim: &Sim, process: usize, seconds: i64) {
    sim.say(format_args!("process {process}: the wall clock jumps by {seconds} s"));
    sim.with(|state| {
        if let Some(handle) = state.processes.get(process) {
            handle.wall_off.fetch_add(seconds * 1000, Ordering::SeqCst);
        }
    });
}

/// Numbers of the processes that live.
#[must_use]
pub fn living(sim: &Sim) -> Vec<usize> {
    sim.with(|state| {
        let all = state.processes.iter().enumerate();
        all.filter(|(_, h)| *h.life.borrow() != Life::Dead).map(|(number, _)| number).collect()
    })
}
