#![no_main]

libfuzzer_sys::fuzz_target!(
    init: mirrordna_fuzz::plant("import_chat", mirrordna_fuzz::import_chat),
    |data: &[u8]| {
        mirrordna_fuzz::import_chat(data);
    }
);
