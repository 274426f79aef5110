//! Base64 as other programs write it.

use base64::{
    Engine as _,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

/// Decodes `text` from Base64 (RFC 4648, section 4), with or without `=` at the end. `None` if it is
/// anything else.
pub fn from_base64(text: impl AsRef<[u8]>) -> Option<Vec<u8>> {
    const BASE64: GeneralPurpose = GeneralPurpose::new(
        &STANDARD,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    BASE64.decode(text).ok()
}
