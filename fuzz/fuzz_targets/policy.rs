#![no_main]

libfuzzer_sys::fuzz_target!(
    init: mirrordna_fuzz::plant("policy", mirrordna_fuzz::policy),
    |data: &[u8]| {
        mirrordna_fuzz::policy(data);
    }
);
