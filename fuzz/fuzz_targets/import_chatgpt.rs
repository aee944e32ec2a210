#![no_main]

libfuzzer_sys::fuzz_target!(
    init: mirrordna_fuzz::plant("import_chatgpt", mirrordna_fuzz::import_chatgpt),
    |data: &[u8]| {
        mirrordna_fuzz::import_chatgpt(data);
    }
);
