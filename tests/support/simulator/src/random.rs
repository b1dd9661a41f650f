//! Seeded randomness: the same seed and id give the same number, whatever the order of requests.

/// SplitMix64.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A generator for one purpose of one name (FNV-1a over the name).
    pub(crate) fn for_name(seed: u64, name: &str, purpose: u64) -> Self {
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let mut mixed = Self(seed ^ hash ^ purpose.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        Self(mixed.next())
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in [0, 1).
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit a f64")]
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Standard normal (Box-Muller).
    pub(crate) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// A lower-case UUID; `millis` fills the time of a version 7 one, as in the vendor's example.
    pub(crate) fn uuid(&mut self, version: u8, millis: Option<u64>) -> String {
        let head = millis.unwrap_or_else(|| self.next()) & 0xffff_ffff_ffff;
        let (a, b) = (self.next(), self.next());
        format!(
            "{:08x}-{:04x}-{:x}{:03x}-{:x}{:03x}-{:012x}",
            head >> 16,
            head & 0xffff,
            version & 0xf,
            a & 0xfff,
            8 + ((a >> 12) & 3),
            (a >> 16) & 0xfff,
            b & 0xffff_ffff_ffff,
        )
    }
}

/// UUID as the vendor's SDK checks it: lower-case hex, 8-4-4-4-12.
pub(crate) fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_seeded_lower_case_uuids() {
        let id = Random::new(7).uuid(7, Some(0x0198_170e_4ca7));
        assert!(is_uuid(&id) && id.starts_with("0198170e-4ca7-7"), "{id}");
        assert_eq!(id, Random::new(7).uuid(7, Some(0x0198_170e_4ca7)));
        assert_ne!(id, Random::new(8).uuid(7, Some(0x0198_170e_4ca7)));
        for bad in ["", "0198170E-4ca7-7ee4-89a7-000000000000", "0198170e4ca77ee489a7000000000000", "x"] {
            assert!(!is_uuid(bad), "{bad}");
        }
    }

    #[test]
    fn draws_have_the_shape_asked_for() {
        let mut random = Random::new(1);
        let mut below = 0;
        for _ in 0..10_000 {
            let unit = random.unit();
            assert!((0.0..1.0).contains(&unit));
            below += u32::from(random.normal() < 0.0);
        }
        assert!((4_700..5_300).contains(&below), "{below}");
    }
}
