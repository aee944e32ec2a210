#![no_main]

libfuzzer_sys::fuzz_target!(
    init: mirrordna_fuzz::plant("public_body", mirrordna_fuzz::public_body),
    |data: &[u8]| {
        mirrordna_fuzz::public_body(data);
    }
);
