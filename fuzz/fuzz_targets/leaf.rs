#![no_main]

libfuzzer_sys::fuzz_target!(
    init: mirrordna_fuzz::plant("leaf", mirrordna_fuzz::leaf),
    |data: &[u8]| {
        mirrordna_fuzz::leaf(data);
    }
);
