//! Drawing at random, from one number that is passed in.

/// Numbers that follow from a seed (SplitMix64, as in Java's SplittableRandom).
#[derive(Clone, Debug)]
pub struct Sample(u64);

impl Sample {
    /// From this seed on.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is above 0; each as likely as the others, but for a bias of less than `end` in 2^64.
    fn below(&mut self, end: usize) -> usize {
        let scaled = u128::from(self.number()) * (end as u128);
        usize::try_from(scaled >> 64).unwrap_or(0)
    }

    /// Takes `most` of these out, or all of them if they are fewer.
    pub fn some_of<T>(&mut self, from: &mut Vec<T>, most: usize) -> Vec<T> {
        let mut drawn = Vec::new();
        while drawn.len() < most && !from.is_empty() {
            let at = self.below(from.len());
            drawn.push(from.swap_remove(at));
        }
        drawn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_drawn_as_often_as_the_others_and_once_at_a_time() {
        let mut draw = Sample::new(7);
        let mut times = [0_u32; 10];
        for _ in 0..10_000 {
            let mut from: Vec<usize> = (0..10).collect();
            let drawn = draw.some_of(&mut from, 3);
            assert_eq!((drawn.len(), from.len()), (3, 7));
            assert!(drawn.iter().all(|one| !from.contains(one)));
            for one in drawn {
                times[one] += 1;
            }
        }
        assert!(times.iter().all(|times| (2_700..3_300).contains(times)), "{times:?}");
    }

    #[test]
    fn fewer_than_wanted_are_all() {
        let mut from = vec![1, 2];
        let mut drawn = Sample::new(1).some_of(&mut from, 5);
        drawn.sort_unstable();
        assert_eq!((drawn, from), (vec![1, 2], vec![]));
    }

    #[test]
    fn the_seed_decides() {
        let drawn = |seed| Sample::new(seed).some_of(&mut (0..1_000).collect(), 10);
        assert_eq!(drawn(1), drawn(1));
        assert_ne!(drawn(1), drawn(2));
    }
}
