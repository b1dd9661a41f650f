//! Random times, from a seed.

use std::time::Duration;

/// Numbers that follow from a seed (SplitMix64).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// From this seed on.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0xd134_2543_de82_ef95))
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 to below 1.
    pub fn share(&mut self) -> f64 {
        let high = u32::try_from(self.number() >> 32).unwrap_or(u32::MAX);
        f64::from(high) / (f64::from(u32::MAX) + 1.0)
    }

    /// A number of the normal distribution (Box and Muller).
    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.share()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.share()).cos()
    }
}

/// How long deletions take.
#[derive(Clone, Copy, Debug)]
pub enum Distribution {
    /// Its logarithm is normal.
    LogNormal {
        /// As many are shorter as are longer.
        median: Duration,
        /// Of the logarithm.
        sigma: f64,
    },
    /// All the same.
    Fixed(Duration),
    /// Any in between.
    Uniform(Duration, Duration),
    /// Most as the first says, and this share of them as the second.
    Mixed(&'static Distribution, f64, &'static Distribution),
}

impl Distribution {
    /// The time that one deletion takes.
    pub fn draw(&self, random: &mut Random) -> Duration {
        match self {
            Self::LogNormal { median, sigma } => median.mul_f64((sigma * random.normal()).exp()),
            Self::Fixed(time) => *time,
            Self::Uniform(least, most) => *least + most.saturating_sub(*least).mul_f64(random.share()),
            Self::Mixed(most, share, rest) => {
                if random.share() < *share {
                    rest.draw(random)
                } else {
                    most.draw(random)
                }
            }
        }
    }
}
