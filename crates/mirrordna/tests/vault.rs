//! A keyring whose key is held by the transit engine of a vault, which is played
//! by a server in this file that encrypts as the real one does.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]
#![cfg(feature = "vault")]

mod common;

use common::Place;
use mirrordna::{Builder, Code, IdentityType, NewProtection, Protection, VaultTransit};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

const TOKEN: &str = "hvs.token-of-the-test";

/// Ciphertexts by their names, with the associated data they were made under:
/// what leaves the server says nothing of what is in them.
#[derive(Default)]
struct Held {
    texts: HashMap<String, (String, String)>,
    /// Method and path of each request.
    asked: Vec<String>,
    /// What to answer instead.
    broken: Option<(u16, String)>,
}

struct Vault {
    address: String,
    held: Arc<Mutex<Held>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Vault {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (held, stop) = (Arc::<Mutex<Held>>::default(), Arc::new(AtomicBool::new(false)));
        let (of_server, stopped) = (held.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::Acquire) {
                    return;
                }
                serve(stream.unwrap(), &of_server);
            }
        });
        Self { address, held, stop, thread: Some(thread) }
    }

    fn provider(&self) -> VaultTransit {
        VaultTransit::new(&self.address, "agents").unwrap().token(TOKEN)
    }
}

impl Drop for Vault {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        drop(TcpStream::connect(self.address.trim_start_matches("http://")));
        self.thread.take().unwrap().join().unwrap();
    }
}

/// Answers one request.
fn serve(stream: TcpStream, held: &Mutex<Held>) {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let asked = line.trim_end().trim_end_matches(" HTTP/1.1").to_owned();
    let (mut length, mut token) = (0, String::new());
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header).unwrap() == 0 || header == "\r\n" {
            break;
        }
        let (name, value) = header.split_once(':').unwrap();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().unwrap(),
            "x-vault-token" => token = value.trim().to_owned(),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let question: Value = serde_json::from_slice(&body).unwrap_or_default();
    let (status, answer) = answer(&asked, &token, &question, &mut held.lock().unwrap());
    let text =
        format!("HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", answer.len());
    reader.get_mut().write_all([text.as_bytes(), answer.as_bytes()].concat().as_slice()).unwrap();
}

fn answer(asked: &str, token: &str, question: &Value, held: &mut Held) -> (u16, String) {
    held.asked.push(asked.to_owned());
    if let Some(broken) = &held.broken {
        return broken.clone();
    }
    if token != TOKEN {
        return (403, json!({"errors": ["permission denied"]}).to_string());
    }
    let text = |name: &str| question[name].as_str().unwrap_or_default().to_owned();
    match asked {
        "POST /v1/transit/encrypt/agents" => {
            let name = format!("vault:v1:{:064x}", held.texts.len() as u64 + 1);
            held.texts.insert(name.clone(), (text("plaintext"), text("associated_data")));
            (200, json!({"data": {"ciphertext": name, "key_version": 1}}).to_string())
        }
        "POST /v1/transit/decrypt/agents" => match held.texts.get(&text("ciphertext")) {
            Some((plain, data)) if *data == text("associated_data") => (200, json!({"data": {"plaintext": plain}}).to_string()),
            _ => (400, json!({"errors": ["cipher: message authentication failed"]}).to_string()),
        },
        _ => (404, json!({"errors": ["no handler for route"]}).to_string()),
    }
}

#[test]
fn a_vault_holds_the_key_of_a_keyring() {
    let (place, vault) = (Place::new(), Vault::start());
    let with = |provider: VaultTransit| place.builder().key_provider(provider);
    let engine = with(vault.provider()).open().unwrap();
    let agent = engine.identities().create(IdentityType::Agent).unwrap();
    let memory = agent.memories().add("Prefers trains").send().unwrap().id;
    for n in 0..50 {
        agent.memories().add(format!("more {n}")).send().unwrap();
    }
    assert_eq!(engine.key_protection(), Some(Protection::Provider("vault-transit".into())));
    let keyring = engine.keyring_path().unwrap();
    drop(agent);
    engine.close().unwrap();
    assert_eq!(vault.held.lock().unwrap().asked, ["POST /v1/transit/encrypt/agents"], "no append asks the vault");
    let text = std::fs::read_to_string(&keyring).unwrap();
    let (kek, _) = vault.held.lock().unwrap().texts.values().next().unwrap().clone();
    assert!(kek.len() == 44 && !text.contains(&kek) && !text.contains(TOKEN));

    let read = |b: Builder| b.open().and_then(|engine| engine.memories().get(&memory)).map(|m| m.content);
    assert_eq!(read(with(vault.provider())).unwrap(), "Prefers trains");
    let token = place.dir.path().join("token");
    std::fs::write(&token, format!("{TOKEN}\n")).unwrap();
    assert_eq!(read(with(VaultTransit::new(&vault.address, "agents").unwrap().token_file(&token))).unwrap(), "Prefers trains");
    // Who has not the right token, key or vault has not the keys.
    let other = Vault::start();
    let wrong = [
        vault.provider().token("hvs.of-somebody-else"),
        VaultTransit::new(&vault.address, "others").unwrap().token(TOKEN),
        vault.provider().mount("elsewhere/transit").unwrap(),
        other.provider(),
        VaultTransit::new(&vault.address, "agents").unwrap().token_file(place.dir.path().join("no token")),
    ];
    for provider in wrong {
        let e = read(with(provider)).unwrap_err();
        assert!(e.code() == Code::KeyProvider && !e.to_string().contains("hvs."), "{e}");
    }
    let report = place.builder().verify().unwrap();
    assert_eq!((report.verdict, report.bodies.locked), ("intact", 52), "without the vault it still is verified");

    // Its answers are not believed to be well-formed.
    let key = json!({"data": {"plaintext": "c2hvcnQ="}}).to_string();
    let huge = format!("{{\"data\":{{\"plaintext\":\"{}\"}}}}", "A".repeat(100_000));
    for (status, text) in
        [(200, ""), (200, "{}"), (200, "{\"data\":{}}"), (200, key.as_str()), (200, huge.as_str()), (500, "<html>"), (302, "{}"), (204, "")]
    {
        vault.held.lock().unwrap().broken = Some((status, text.to_owned()));
        assert_eq!(read(with(vault.provider())).unwrap_err().code(), Code::KeyProvider, "{status} {text:.40}");
    }
    vault.held.lock().unwrap().broken = None;
    // From the vault to a passphrase, and back.
    with(vault.provider()).set_passphrase("sesame").unwrap();
    let back = NewProtection::Provider(Arc::new(vault.provider()));
    place.builder().passphrase("sesame").rotate_keys(&back).unwrap();
    assert_eq!(read(with(vault.provider())).unwrap(), "Prefers trains");
    let gone = vault.address.clone();
    drop(vault);
    let e = read(with(VaultTransit::new(&gone, "agents").unwrap().token(TOKEN))).unwrap_err();
    assert!(e.code() == Code::KeyProvider && e.is_retryable(), "{e}");
}

#[test]
fn a_token_is_not_sent_in_clear_over_a_network() {
    let refused = |address: &str, key: &str| VaultTransit::new(address, key).unwrap_err().code();
    for address in [
        "http://vault.example:8200",
        "http://127.0.0.1.example",
        "http://10.0.0.1",
        "http://x@127.0.0.1",
        "ftp://x",
        "vault",
        "http://localhost@evil.example",
    ] {
        assert_eq!(refused(address, "k"), Code::ConfigInvalid, "{address}");
    }
    for key in ["", "..", "a/b", "a?b", "a b", "../sys/seal"] {
        assert_eq!(refused("http://127.0.0.1:8200", key), Code::ConfigInvalid, "{key}");
    }
    assert_eq!(VaultTransit::new("https://vault.example", "k").is_ok(), cfg!(feature = "vault-tls"));
    for address in ["http://127.0.0.1:8200", "http://localhost", "http://[::1]:8200/"] {
        VaultTransit::new(address, "k").unwrap();
    }
    let shown = format!("{:?}", VaultTransit::new("http://127.0.0.1", "k").unwrap().token("hvs.secret"));
    assert!(!shown.contains("secret"), "{shown}");
}
