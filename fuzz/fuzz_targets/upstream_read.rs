#![no_main]

libfuzzer_sys::fuzz_target!(
    init: mirrordna_fuzz::plant("upstream_read", mirrordna_fuzz::upstream_read),
    |data: &[u8]| {
        mirrordna_fuzz::upstream_read(data);
    }
);
