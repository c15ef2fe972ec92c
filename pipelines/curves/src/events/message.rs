//! Protocol-buffer messages, encoded by hand: the few kinds of fields that events need.

/// The bytes of a message so far.
#[derive(Debug, Default)]
pub(crate) struct Message(Vec<u8>);

/// How a field is encoded.
const VARINT: u32 = 0;
const EIGHT_BYTES: u32 = 1;
const LENGTH: u32 = 2;
const FOUR_BYTES: u32 = 5;

impl Message {
    /// An integer or an enum.
    pub(crate) fn integer(&mut self, field: u32, value: u64) {
        self.key(field, VARINT);
        self.varint(value);
    }

    /// A `double`.
    pub(crate) fn double(&mut self, field: u32, value: f64) {
        self.key(field, EIGHT_BYTES);
        self.0.extend(value.to_le_bytes());
    }

    /// A `float`.
    pub(crate) fn float(&mut self, field: u32, value: f32) {
        self.key(field, FOUR_BYTES);
        self.0.extend(value.to_le_bytes());
    }

    /// Bytes or a text.
    pub(crate) fn bytes(&mut self, field: u32, bytes: &[u8]) {
        self.key(field, LENGTH);
        self.varint(bytes.len() as u64);
        self.0.extend(bytes);
    }

    /// A message inside this one.
    pub(crate) fn message(&mut self, field: u32, inner: Message) {
        self.bytes(field, &inner.0);
    }

    /// The encoded message.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn key(&mut self, field: u32, kind: u32) {
        self.varint(u64::from(field << 3 | kind));
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_encoded_as_the_specification_shows() {
        let mut message = Message::default();
        message.integer(1, 150);
        message.bytes(2, b"testing");
        assert_eq!(message.as_bytes(), b"\x08\x96\x01\x12\x07testing");
        let mut outer = Message::default();
        outer.message(3, message);
        outer.float(4, 1.0);
        assert_eq!(outer.as_bytes()[..2], [0x1a, 12]);
        assert_eq!(outer.as_bytes()[14..], [0x25, 0, 0, 0x80, 0x3f]);
    }
}
