#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| treewarden_fuzz::rescue(data));
