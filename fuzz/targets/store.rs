//! libFuzzer's program for [`postern_fuzz::store`].
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| postern_fuzz::store(input));
