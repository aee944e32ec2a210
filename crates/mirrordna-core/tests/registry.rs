//! `spec/errors.yaml` and the code say the same.

use mirrordna_core::Code;

#[test]
fn the_registry_file_lists_every_code_as_it_is() {
    let file = include_str!("../../../spec/errors.yaml");
    let mut expected = String::new();
    for code in Code::ALL {
        expected.push_str(&format!(
            "  - code: MDNA-{}\n    name: {}\n    retryable: {}\n",
            code.number(),
            code.name(),
            code.is_retryable()
        ));
        assert!(file.contains(&format!("hint: \"{}\"", code.hint())), "{}", code.name());
        assert_eq!(Code::from_name(code.name()), Some(*code));
    }
    let listed: String = file
        .lines()
        .filter(|l| ["  - code:", "    name:", "    retryable:"].iter().any(|p| l.starts_with(p)))
        .map(|l| format!("{l}\n"))
        .collect();
    assert_eq!(listed, expected);
    let numbers: Vec<u16> = Code::ALL.iter().map(|c| c.number()).collect();
    assert!(numbers.is_sorted_by(|a, b| a < b), "numbers ascend and are never used twice");
}
