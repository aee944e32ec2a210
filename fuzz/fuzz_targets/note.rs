#![no_main]

libfuzzer_sys::fuzz_target!(
    init: mirrordna_fuzz::plant("note", mirrordna_fuzz::note),
    |data: &[u8]| {
        mirrordna_fuzz::note(data);
    }
);
