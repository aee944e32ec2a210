#![no_main]

libfuzzer_sys::fuzz_target!(
    init: mirrordna_fuzz::plant("bundle", mirrordna_fuzz::bundle),
    |data: &[u8]| {
        mirrordna_fuzz::bundle(data);
    }
);
