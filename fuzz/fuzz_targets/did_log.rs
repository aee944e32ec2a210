#![no_main]

libfuzzer_sys::fuzz_target!(
    init: mirrordna_fuzz::plant("did_log", mirrordna_fuzz::did_log),
    |data: &[u8]| {
        mirrordna_fuzz::did_log(data);
    }
);
