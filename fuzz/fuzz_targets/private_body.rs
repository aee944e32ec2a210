#![no_main]

libfuzzer_sys::fuzz_target!(
    init: mirrordna_fuzz::plant("private_body", mirrordna_fuzz::private_body),
    |data: &[u8]| {
        mirrordna_fuzz::private_body(data);
    }
);
