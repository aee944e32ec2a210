#![no_main]

libfuzzer_sys::fuzz_target!(
    init: mirrordna_fuzz::plant("keyring", mirrordna_fuzz::keyring),
    |data: &[u8]| {
        mirrordna_fuzz::keyring(data);
    }
);
