//! 128-bit digests of states. Two states with the same digest count as one state: among 10⁹ states the probability of such a
//! pair is below 10⁻²⁰.

use std::hash::{DefaultHasher, Hash, Hasher};

/// The digest of a value.
pub fn digest<T: Hash + ?Sized>(value: &T) -> u128 {
    let half = |salt: u64| {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(salt);
        value.hash(&mut hasher);
        u128::from(hasher.finish())
    };
    half(0x9e37_79b9_7f4a_7c15) << 64 | half(0xc2b2_ae3d_27d4_eb4f)
}
