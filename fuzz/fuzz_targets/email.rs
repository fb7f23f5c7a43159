#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| doorbook_fuzz::bodies::email(input));
