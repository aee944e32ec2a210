#![no_main]

libfuzzer_sys::fuzz_target!(
    init: mirrordna_fuzz::plant("import_upstream", mirrordna_fuzz::import_upstream),
    |data: &[u8]| {
        mirrordna_fuzz::import_upstream(data);
    }
);
