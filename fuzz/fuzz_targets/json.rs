#![no_main]

libfuzzer_sys::fuzz_target!(
    init: mirrordna_fuzz::plant("json", mirrordna_fuzz::json),
    |data: &[u8]| {
        mirrordna_fuzz::json(data);
    }
);
