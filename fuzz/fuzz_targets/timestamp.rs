#![no_main]

libfuzzer_sys::fuzz_target!(
    init: mirrordna_fuzz::plant("timestamp", mirrordna_fuzz::timestamp),
    |data: &[u8]| {
        mirrordna_fuzz::timestamp(data);
    }
);
