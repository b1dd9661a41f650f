//! How long to wait before trying again.

use std::time::Duration;

/// Exponential backoff with jitter: between half of and the whole of `min × 2^failures`, at most `max`.
///
/// `failures` counts the failures before this one; `random` is drawn by the caller and spreads objects that failed
/// together.
#[must_use]
pub fn backoff(failures: u32, min: Duration, max: Duration, random: u64) -> Duration {
    let whole = min.saturating_mul(2_u32.saturating_pow(failures.min(30))).min(max);
    let half = whole / 2;
    let half_us = u64::try_from(half.as_micros()).unwrap_or(u64::MAX);
    half + Duration::from_micros(random % half_us.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_within_bounds_whatever_is_drawn() {
        let (min, max) = (Duration::from_secs(1), Duration::from_mins(5));
        for random in [0, 1, 499_999, u64::MAX] {
            let mut last = Duration::ZERO;
            for failures in 0..40 {
                let wait = backoff(failures, min, max, random);
                let whole = min.saturating_mul(2_u32.saturating_pow(failures.min(30))).min(max);
                assert!(wait >= whole / 2 && wait <= whole, "{failures} {random}: {wait:?}");
                assert!(wait >= last / 2, "never falls back to the start");
                last = wait;
            }
        }
    }
}
