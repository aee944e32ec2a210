//! The transit secrets engine of HashiCorp Vault, or of OpenBao, as a provider:
//! the keyring key goes there to be encrypted and decrypted under a key that
//! never leaves the vault.

use super::provider::{KeyProvider, fails, secret_of_file};
use mirrordna_core::verify::note::{base64, from_base64};
use mirrordna_core::{Code, Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;
use zeroize::Zeroizing;

/// How long one call may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// An answer is some hundred bytes; what is longer is none.
const ANSWER: u64 = 16 * 1024;

/// Where the token comes from.
#[derive(Clone)]
enum Token {
    Given(Zeroizing<String>),
    /// Read for each call: an agent may renew it.
    File(PathBuf),
}

/// A key in the transit engine of a vault.
///
/// ```no_run
/// use mirrordna::{Engine, VaultTransit};
///
/// let vault = VaultTransit::new("http://127.0.0.1:8200", "agents")?.token_file("/run/secrets/vault-token");
/// let engine = Engine::builder("./agents.db").key_provider(vault).open()?;
/// # Ok::<(), mirrordna::Error>(())
/// ```
#[derive(Clone)]
pub struct VaultTransit {
    address: String,
    mount: String,
    key: String,
    token: Token,
}

impl fmt::Debug for VaultTransit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VaultTransit({}/v1/{}/…/{})", self.address, self.mount, self.key)
    }
}

/// What is sent to both ends; the vault ignores fields that a key has no use for.
#[derive(Serialize)]
struct Question<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    plaintext: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ciphertext: Option<&'a str>,
    /// The database, for keys that authenticate it (`aes256-gcm96`, the default,
    /// and `chacha20-poly1305`).
    associated_data: &'a str,
}

#[derive(Deserialize)]
struct Answer {
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    plaintext: Option<String>,
    ciphertext: Option<String>,
}

impl Drop for Data {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.plaintext);
    }
}

impl VaultTransit {
    /// The key of this name at the vault with this address, `https://…` or, on
    /// this machine only (a Vault agent or a proxy beside the process),
    /// `http://…`. The mount is `transit`.
    ///
    /// # Errors
    /// `config.invalid` for another address, for `https` in a build without
    /// feature `vault-tls`, or a name that is none.
    pub fn new(address: &str, key: &str) -> Result<Self> {
        let address = address.trim_end_matches('/');
        let refuse = |why: &str| Error::new(Code::ConfigInvalid, format!("the vault's address {address} {why}"));
        if let Some(rest) = address.strip_prefix("http://") {
            let host = rest.split('/').next().unwrap_or_default();
            let host = if host.starts_with('[') { host.split_inclusive(']').next() } else { host.split(':').next() };
            if !matches!(host, Some("127.0.0.1" | "localhost" | "[::1]")) {
                return Err(refuse("would send its token in clear").with_hint("Use https://, or a Vault agent on this machine."));
            }
        } else if !address.starts_with("https://") {
            return Err(refuse("is neither https:// nor http://"));
        } else if !cfg!(feature = "vault-tls") {
            return Err(refuse("needs TLS, which this build has not")
                .with_hint("Build with feature vault-tls, or use a Vault agent on this machine."));
        }
        if address.contains('@') || address.contains(['?', '#', ' ']) {
            return Err(refuse("has more than a host, a port and a path"));
        }
        let provider =
            Self { address: address.to_owned(), mount: "transit".into(), key: key.to_owned(), token: Token::Given(Zeroizing::default()) };
        named(key, "the vault's key")?;
        Ok(provider)
    }

    /// Where the transit engine is mounted.
    ///
    /// # Errors
    /// `config.invalid` for what is no path.
    pub fn mount(mut self, mount: &str) -> Result<Self> {
        mount.split('/').try_for_each(|part| named(part, "the vault's mount"))?;
        self.mount = mount.to_owned();
        Ok(self)
    }

    /// The token to show.
    #[must_use]
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Token::Given(Zeroizing::new(token.into()));
        self
    }

    /// The file that holds the token; it is read for each call.
    #[must_use]
    pub fn token_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.token = Token::File(path.into());
        self
    }

    /// Asks the vault; `what` is `encrypt` or `decrypt`.
    fn ask(&self, what: &str, question: &Question<'_>) -> Result<Answer> {
        let token = match &self.token {
            Token::Given(token) => token.clone(),
            Token::File(path) => secret_of_file(path)?,
        };
        let url = format!("{}/v1/{}/{what}/{}", self.address, self.mount, self.key);
        let failed = |why: String| fails(format!("the vault at {} does not {what}: {why}", self.address));
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(PATIENCE))
            // It is asked once in the life of a process, and a redirection would
            // take the token elsewhere.
            .max_redirects(0)
            .http_status_as_error(false)
            .proxy(None)
            .build();
        let mut body = Zeroizing::new(Vec::with_capacity(1_024));
        serde_json::to_writer(&mut *body, question).map_err(|e| Error::new(Code::Bug, "a question does not serialise").caused_by(e))?;
        let sent = ureq::Agent::new_with_config(config)
            .post(&url)
            .header("X-Vault-Token", &*token)
            .header("X-Vault-Request", "true")
            .content_type("application/json")
            .send(&body[..]);
        let mut answer = sent.map_err(|e| failed(e.to_string()))?;
        let status = answer.status().as_u16();
        let text = answer.body_mut().with_config().limit(ANSWER).read_to_vec().map(Zeroizing::new).map_err(|e| failed(e.to_string()))?;
        if status != 200 {
            // Its words name paths and policies, never what was sent.
            let said: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
            let said: Vec<&str> = said["errors"].as_array().into_iter().flatten().filter_map(|e| e.as_str()).collect();
            let said: String = said.join("; ").chars().take(200).filter(|c| !c.is_control()).collect();
            return Err(failed(format!("status {status} {said}")));
        }
        serde_json::from_slice(&text).map_err(|_| failed("its answer is not of a transit engine".into()))
    }
}

/// Checks a part of a path.
fn named(part: &str, what: &str) -> Result<()> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    if part.is_empty() || part.len() > 128 || part.starts_with('.') || !part.bytes().all(plain) {
        let shown: String = part.chars().take(80).collect();
        return Err(Error::new(Code::ConfigInvalid, format!("{what} has no name: '{shown}'")));
    }
    Ok(())
}

impl KeyProvider for VaultTransit {
    fn name(&self) -> &str {
        "vault-transit"
    }

    fn wrap(&self, database: &[u8; 16], key: &[u8; 32]) -> Result<Vec<u8>> {
        let plain = Zeroizing::new(base64(key));
        let question = Question { plaintext: Some(&plain), ciphertext: None, associated_data: &base64(database) };
        let mut answer = self.ask("encrypt", &question)?;
        let wrapped = answer.data.ciphertext.take().ok_or_else(|| fails("the vault's answer holds no ciphertext"))?;
        Ok(wrapped.into_bytes())
    }

    fn unwrap(&self, database: &[u8; 16], wrapped: &[u8]) -> Result<Zeroizing<[u8; 32]>> {
        let wrapped = std::str::from_utf8(wrapped).map_err(|_| fails("the keyring's key was not wrapped by a vault"))?;
        let question = Question { plaintext: None, ciphertext: Some(wrapped), associated_data: &base64(database) };
        let answer = self.ask("decrypt", &question)?;
        let raw = answer.data.plaintext.as_deref().and_then(from_base64).map(Zeroizing::new);
        let key = raw.and_then(|raw| <[u8; 32]>::try_from(raw.as_slice()).ok());
        key.map(Zeroizing::new).ok_or_else(|| fails("the vault's answer holds no key"))
    }
}
