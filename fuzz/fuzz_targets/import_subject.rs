#![no_main]

libfuzzer_sys::fuzz_target!(
    init: mirrordna_fuzz::plant("import_subject", mirrordna_fuzz::import_subject),
    |data: &[u8]| {
        mirrordna_fuzz::import_subject(data);
    }
);
