//! Names that are hashes.

/// Returns whether `name` is `length` lower-case hexadecimal digits.
pub(super) fn is_hex(name: &str, length: usize) -> bool {
    name.len() == length
        && name
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Returns whether `name` is nothing but a hash: 16 or more hexadecimal digits.
pub(super) fn is_hash(name: &str) -> bool {
    name.len() >= 16 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}
