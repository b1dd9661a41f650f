//! The same seed gives the same run.

use simulation::run::run_seed;

#[test]
fn the_same_seed_gives_the_same_run_byte_for_byte() {
    for seed in 0..40 {
        let (first, second) = (run_seed(seed, false), run_seed(seed, false));
        assert_eq!(first.hash, second.hash, "{}", simulation::replay(seed));
    }
}
