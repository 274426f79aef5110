//! Base64 as others write it.

use base64::{
    Engine as _,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

/// The bytes that `text` writes in Base64 (RFC 4648, section 4), whose `=` at the end may be absent. `None` if it is
/// written otherwise.
pub fn from_base64(text: impl AsRef<[u8]>) -> Option<Vec<u8>> {
    const BASE64: GeneralPurpose = GeneralPurpose::new(
        &STANDARD,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    BASE64.decode(text).ok()
}
