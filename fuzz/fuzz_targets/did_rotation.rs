#![no_main]

libfuzzer_sys::fuzz_target!(
    init: mirrordna_fuzz::plant("did_rotation", mirrordna_fuzz::did_rotation),
    |data: &[u8]| {
        mirrordna_fuzz::did_rotation(data);
    }
);
