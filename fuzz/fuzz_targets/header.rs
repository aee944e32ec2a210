#![no_main]

libfuzzer_sys::fuzz_target!(
    init: mirrordna_fuzz::plant("header", mirrordna_fuzz::header),
    |data: &[u8]| {
        mirrordna_fuzz::header(data);
    }
);
