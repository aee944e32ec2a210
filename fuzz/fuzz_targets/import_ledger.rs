#![no_main]

libfuzzer_sys::fuzz_target!(
    init: mirrordna_fuzz::plant("import_ledger", mirrordna_fuzz::import_ledger),
    |data: &[u8]| {
        mirrordna_fuzz::import_ledger(data);
    }
);
