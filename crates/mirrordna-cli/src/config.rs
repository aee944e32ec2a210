//! Configuration: defaults, then a file, then the environment, then arguments.

use mirrordna::{Builder, Code, Deployment, Durability, Engine, Error, Keys, Result, SealPolicy, Witness, input};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// What the file may hold; anything else is an error with its line.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    store: Option<String>,
    keys: Option<PathBuf>,
    state: Option<String>,
    durability: Option<String>,
    seals: Option<String>,
    profile: Option<String>,
}

/// The effective configuration.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// The database.
    pub(crate) store: String,
    /// Read the database as of the state in which it is found.
    pub(crate) as_of: bool,
    keys: Keys,
    witness: Witness,
    durability: Durability,
    seals: SealPolicy,
    profile: Deployment,
    from: [(&'static str, String, String); 6],
}

fn env(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|v| !v.is_empty())
}

/// The configuration file, if there is one.
fn find() -> Result<Option<PathBuf>> {
    if let Some(named) = env("MIRRORDNA_CONFIG").map(PathBuf::from) {
        return match named.is_file() {
            true => Ok(Some(named)),
            false => Err(Error::new(Code::ConfigInvalid, format!("MIRRORDNA_CONFIG names {}, which is no file", named.display()))),
        };
    }
    let home = env("XDG_CONFIG_HOME").map(PathBuf::from).or_else(|| env("HOME").map(|h| Path::new(&h).join(".config")));
    let places = [Some(PathBuf::from("mirrordna.toml")), home.map(|h| h.join("mirrordna/config.toml"))];
    Ok(places.into_iter().flatten().find(|p| p.is_file()))
}

fn read(path: &Path) -> Result<File> {
    let bad = |what: String| Error::new(Code::ConfigInvalid, format!("{}{what}", path.display()));
    let text = input::text(path, "the configuration", input::TEXT, Code::ConfigInvalid)?;
    toml::from_str(&text).map_err(|e| {
        let line = e.span().map_or(1, |s| text[..s.start.min(text.len())].matches('\n').count() + 1);
        bad(format!(" line {line}: {}", e.message()))
    })
}

/// The folder of keyrings.
fn default_keys() -> Option<String> {
    let file = Keys::Default.path(&[0; 16]).ok()??;
    file.parent().map(|folder| folder.display().to_string())
}

impl Settings {
    /// Settles the configuration; `store` and `as_of` are what was typed.
    pub(crate) fn load(store: Option<String>, as_of: bool) -> Result<Self> {
        let path = find()?;
        let file = path.as_deref().map(read).transpose()?.unwrap_or_default();
        let shown = path.as_ref().map_or_else(String::new, |p| p.display().to_string());
        let pick = |variable: &str, in_file: Option<String>, default: &str| match (env(variable), in_file) {
            (Some(value), _) => (value, variable.to_owned()),
            (None, Some(value)) => (value, shown.clone()),
            (None, None) => (default.to_owned(), "default".to_owned()),
        };
        let (store, store_from) = match store {
            Some(typed) => (typed, "--store".to_owned()),
            None => pick("MIRRORDNA_STORE", file.store, "./mirrordna.db"),
        };
        let keys_in_file = file.keys.map(|k| k.display().to_string());
        let (keys, keys_from) = pick("MIRRORDNA_KEYS", keys_in_file, "");
        let (state, state_from) = pick("MIRRORDNA_STATE", file.state, "");
        let (durability, durability_from) = pick("MIRRORDNA_DURABILITY", file.durability, "full");
        let (seals, seals_from) = pick("MIRRORDNA_SEALS", file.seals, "bounded");
        let (profile, profile_from) = pick("MIRRORDNA_PROFILE", file.profile, "development");
        let wrong = |key: &str, value: &str, from: &str, known: &str| {
            Err(Error::new(Code::ConfigInvalid, format!("{key} = '{value}' ({from}) is none of {known}")))
        };
        // Where the library puts them if nobody says anything else.
        let none = |variable: &str| format!("(nowhere: set {variable})");
        let keys_shown = match keys.as_str() {
            "" => default_keys().unwrap_or_else(|| none("MIRRORDNA_KEYS")),
            named => named.to_owned(),
        };
        let state_shown = match state.as_str() {
            "" => Witness::Default.folder().map_or_else(|| none("MIRRORDNA_STATE"), |f| f.display().to_string()),
            named => named.to_owned(),
        };
        Ok(Self {
            // The environment is read by the library itself.
            keys: if keys_from == shown && !shown.is_empty() { Keys::Folder(PathBuf::from(&keys)) } else { Keys::Default },
            witness: match state.as_str() {
                "off" => Witness::Off,
                folder if state_from == shown && !shown.is_empty() => Witness::Folder(PathBuf::from(folder)),
                _ => Witness::Default,
            },
            durability: match durability.as_str() {
                "full" => Durability::Full,
                "normal" => Durability::Normal,
                other => return wrong("durability", other, &durability_from, "full, normal"),
            },
            seals: match seals.as_str() {
                "bounded" => SealPolicy::Bounded,
                "every-event" => SealPolicy::EveryEvent,
                other => return wrong("seals", other, &seals_from, "bounded, every-event"),
            },
            profile: match profile.parse() {
                Ok(profile) => profile,
                Err(_) => return wrong("profile", &profile, &profile_from, "development, production"),
            },
            from: [
                ("store", store.clone(), store_from),
                ("keys", keys_shown, keys_from),
                ("state", state_shown, state_from),
                ("durability", durability, durability_from),
                ("seals", seals, seals_from),
                ("profile", profile, profile_from),
            ],
            store,
            as_of,
        })
    }

    /// The same configuration for another database.
    pub(crate) fn at(&self, store: &str) -> Self {
        Self { store: store.to_owned(), ..self.clone() }
    }

    /// A builder with everything that is configured.
    pub(crate) fn builder(&self) -> Builder {
        let builder = Engine::builder(&self.store).keys(self.keys.clone()).witness(self.witness.clone());
        builder.durability(self.durability).seals(self.seals).profile(self.profile)
    }

    /// The same, to write.
    pub(crate) fn builder_to_write(&self) -> Result<Builder> {
        if self.as_of {
            let message = "--as-of reads the state that was found; this command writes";
            return Err(Error::new(Code::InputInvalid, message).with_hint("Leave --as-of away."));
        }
        Ok(self.builder())
    }

    /// The folder of the head witness, unless it is off.
    pub(crate) fn witness_folder(&self) -> Option<PathBuf> {
        self.witness.folder()
    }

    /// Key, value and where it comes from.
    pub(crate) fn effective(&self) -> Vec<(&'static str, String, String)> {
        self.from.to_vec()
    }
}
