#![no_main]

libfuzzer_sys::fuzz_target!(
    init: mirrordna_fuzz::plant("add_checkpoint", mirrordna_fuzz::add_checkpoint),
    |data: &[u8]| {
        mirrordna_fuzz::add_checkpoint(data);
    }
);
