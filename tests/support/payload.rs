//! Payloads that say who sent them and that can be made again for comparison.

use super::seed::Seed;
use super::telemetry;

/// Usual size: a few readings in JSON.
pub const USUAL_BYTES: usize = 200;

/// The payload of message `seq` of `device`: JSON of `size` bytes, or a few more where the names are long.
///
/// The padding is hexadecimal noise: compressible to about half, so that what fills something in a test fills it. What is measured is
/// [`telemetry::reading`].
pub fn payload(device: &str, seq: u64, size: usize) -> Vec<u8> {
    let mut text = format!("{{\"device\":\"{device}\",\"seq\":{seq},\"noise\":\"");
    let ending = "\"}";
    let mut noise = Seed::new(
        device
            .bytes()
            .fold(seq, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into())),
    );
    let target = size.saturating_sub(ending.len());
    while text.len() < target {
        let digits = format!("{:016x}", noise.next());
        let len = digits.len().min(target - text.len());
        text.push_str(&digits[..len]);
    }
    text.push_str(ending);
    text.into_bytes()
}

/// Whether `value` is what the device sent as its message `seq`: either kind.
pub fn is_sent(value: &[u8], device: &str, seq: u64) -> bool {
    let kinds = [payload, telemetry::reading];
    kinds.iter().any(|kind| kind(device, seq, value.len()) == value)
}

/// Who sent this payload and as which number, if it is one of ours.
pub fn origin(value: &[u8]) -> Option<(String, u64)> {
    let json: serde_json::Value = serde_json::from_slice(value).ok()?;
    Some((json.get("device")?.as_str()?.into(), json.get("seq")?.as_u64()?))
}
