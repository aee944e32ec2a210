//! `config`: the effective configuration.

use crate::config::Settings;
use crate::output::Output;
use mirrordna::Result;
use serde_json::json;

pub(crate) fn config(settings: &Settings, out: &mut Output) -> Result<u8> {
    let shown = settings.effective();
    if out.json {
        let values: serde_json::Map<_, _> =
            shown.into_iter().map(|(k, v, from)| (k.to_owned(), json!({"value": v, "from": from}))).collect();
        out.value(&values)?;
    } else {
        let rows: Vec<Vec<String>> = shown.into_iter().map(|(k, v, from)| vec![k.to_owned(), v, format!("({from})")]).collect();
        out.table(&rows);
    }
    Ok(0)
}
