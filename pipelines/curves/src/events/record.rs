//! Records of a TFRecord file: the length, its checksum, the data, its checksum.

/// Added to a rotated checksum.
const MASK: u32 = 0xa282_ead8;

/// A record with this data.
pub(crate) fn frame(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let mut record = Vec::with_capacity(data.len() + 16);
    record.extend(length);
    record.extend(masked(&length).to_le_bytes());
    record.extend(data);
    record.extend(masked(data).to_le_bytes());
    record
}

/// The CRC-32C of bytes, changed so that it can be stored among bytes that are checked again.
fn masked(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(MASK)
}
