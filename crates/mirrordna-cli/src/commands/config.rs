//! `config`: the effective configuration.

use crate::config::Settings;
use crate::output::{Cell, Fit, Output, Tone};
use mirrordna::Result;
use serde_json::json;

pub(crate) fn config(settings: &Settings, out: &mut Output) -> Result<u8> {
    let shown = settings.effective();
    if out.json {
        let values: serde_json::Map<_, _> =
            shown.into_iter().map(|(k, v, from)| (k.to_owned(), json!({"value": v, "from": from}))).collect();
        out.value(&values)?;
    } else {
        let row = |(k, v, from): (&str, String, String)| vec![k.into(), v.into(), Cell::toned(Tone::Dim, from)];
        let columns = [("KEY", Fit::Whole), ("VALUE", Fit::Whole), ("FROM", Fit::Whole)];
        out.table(&columns, shown.into_iter().map(row).collect(), "");
    }
    Ok(0)
}
