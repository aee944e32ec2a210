#![no_main]

libfuzzer_sys::fuzz_target!(
    init: mirrordna_fuzz::plant("restore", mirrordna_fuzz::restore),
    |data: &[u8]| {
        mirrordna_fuzz::restore(data);
    }
);
