#![no_main]

libfuzzer_sys::fuzz_target!(
    init: mirrordna_fuzz::plant("cosignatures", mirrordna_fuzz::cosignatures),
    |data: &[u8]| {
        mirrordna_fuzz::cosignatures(data);
    }
);
