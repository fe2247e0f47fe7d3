use super::*;

/// Bytes that are told apart: `first` and those that follow it.
pub(crate) fn counting_from<const N: usize>(first: u8) -> [u8; N] {
    let mut next = first.wrapping_sub(1);
    std::array::from_fn(|_| {
        next = next.wrapping_add(1);
        next
    })
}

impl Keys {
    /// Keys whose bytes count from these, the first one current.
    pub(crate) fn of(current: Option<u8>, old: &[u8]) -> Self {
        let key = |byte: u8| Key::new(&counting_from(byte));
        Self(Arc::new(Ring {
            current: current.map(key),
            old: old.iter().map(|byte| key(*byte)).collect(),
        }))
    }

    /// As [`Keys::seal`] does it under a nonce that came up.
    pub(crate) fn seal_under(&self, nonce: [u8; NONCE_BYTES], header: &[u8], plain: &[u8]) -> Vec<u8> {
        let key = self.0.current.as_ref().expect("there is one");
        key.seal_with(nonce, header, plain).expect("seals")
    }
}
