//! What the tests of the queue share.

/// Numbers that look random (Marsaglia's xorshift).
pub struct Numbers(pub u64);

impl Numbers {
    /// One of so many.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).unwrap()
    }
}
