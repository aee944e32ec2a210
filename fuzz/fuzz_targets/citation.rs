#![no_main]

libfuzzer_sys::fuzz_target!(
    init: mirrordna_fuzz::plant("citation", mirrordna_fuzz::citation),
    |data: &[u8]| {
        mirrordna_fuzz::citation(data);
    }
);
