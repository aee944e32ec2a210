#![no_main]

libfuzzer_sys::fuzz_target!(
    init: mirrordna_fuzz::plant("tlog_proof", mirrordna_fuzz::tlog_proof),
    |data: &[u8]| {
        mirrordna_fuzz::tlog_proof(data);
    }
);
