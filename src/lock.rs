//! Locking of shared state.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks, also after a panic in another holder: every update of the shared state is complete at each await and return.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
