#![no_main]

libfuzzer_sys::fuzz_target!(
    init: mirrordna_fuzz::plant("receipt", mirrordna_fuzz::receipt),
    |data: &[u8]| {
        mirrordna_fuzz::receipt(data);
    }
);
