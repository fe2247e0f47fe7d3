//! Messages as a source makes them of live traffic, for what compresses and counts bytes.

use bytes::Bytes;
use edgeferry::message::{Arrival, Delivery, SessionTag, Stamp};

use super::seed::Seed;

/// Message `position` of a session, one a millisecond. Unlike those of [`Arrival::trial`], no two have the same time, packet id
/// and fingerprint: what describes them takes as much room as on a gateway.
pub fn live(position: u64, topic: String, payload: impl Into<Bytes>, noise: &mut Seed) -> Arrival {
    let trial = Arrival::trial(position, topic, payload);
    Arrival {
        delivery: Delivery {
            session: SessionTag(0x1234_5678_9abc_def0),
            packet_id: (position % 1000) as u16 + 1,
            fingerprint: noise.next(),
            ..trial.delivery
        },
        stamp: Stamp {
            boot_ms: 1_000_000 + position,
            boot: 0xfeed_beef_dead_cafe,
            ..Stamp::right(1_767_225_600_000 + position.cast_signed())
        },
        ..trial
    }
}
