//! As much HTTP/1.1 as a witness needs (C2SP `tlog-witness`): one small POST
//! and its answer, from both sides.
//!
//! Why not a library: one request form of at most 72 KiB with a length, refused
//! in every other form, is 150 lines over the standard library; server crates
//! bring routing, chunking, upgrades and TLS, all of which would be reachable
//! by strangers and none of which is used. TLS belongs to a proxy in front.

use mirrordna::peer::{Answer, MAX_REQUEST};
use mirrordna::{Code, Error, Result};
use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a whole exchange may take, from the first byte to the last.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a client that was answered may go on sending what nobody reads.
const LINGER: Duration = Duration::from_millis(500);
/// The longest head of a request or response.
const MAX_HEAD: usize = 8 * 1024;
/// The longest response that is read.
const MAX_RESPONSE: u64 = 64 * 1024;
/// Connections that are open at once.
const CONNECTIONS: usize = 64;
/// What is posted to.
const PATH: &str = "/add-checkpoint";
const TEXT: &str = "text/plain; charset=utf-8";
const SIZE: &str = "text/x.tlog.size";

/// A refusal before the witness is asked.
type Refused = (u16, &'static str);

/// A connection that is over at a deadline, however slowly its other end goes
/// on: each read and write waits for what is left, not for its own time.
struct Timed<'a> {
    stream: &'a TcpStream,
    deadline: Instant,
}

impl Timed<'_> {
    fn left(&self) -> std::io::Result<Duration> {
        let left = self.deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero());
        left.ok_or_else(|| ErrorKind::TimedOut.into())
    }
}

impl Read for Timed<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        self.stream.set_read_timeout(Some(self.left()?))?;
        self.stream.read(bytes)
    }
}

impl Write for Timed<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.stream.set_write_timeout(Some(self.left()?))?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.stream.flush()
    }
}

/// How patient a server is.
#[derive(Clone, Copy)]
struct Bounds {
    connections: usize,
    patience: Duration,
}

/// The connections that are open.
#[derive(Default)]
struct Guests {
    open: usize,
    /// Those that still send their request, by their numbers, oldest first.
    sending: VecDeque<(u64, TcpStream)>,
}

/// Who may come in. Where it is full, the one that has been sending its request
/// for longest has to go: slow clients never keep out others.
#[derive(Default)]
struct Door {
    guests: Mutex<Guests>,
    left: Condvar,
}

impl Door {
    fn guests(&self) -> MutexGuard<'_, Guests> {
        self.guests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a connection in. Where all others were answered already, it waits
    /// until one is gone.
    fn enter(&self, number: u64, stream: TcpStream, connections: usize) {
        let mut guests = self.guests();
        while guests.open >= connections {
            if let Some((_, slowest)) = guests.sending.pop_front() {
                // Its thread reads the end of it, and leaves.
                let _gone = slowest.shutdown(Shutdown::Both);
            }
            guests = self.left.wait(guests).unwrap_or_else(PoisonError::into_inner);
        }
        guests.open += 1;
        guests.sending.push_back((number, stream));
    }

    /// Its request is here: it will be answered.
    fn received(&self, number: u64) {
        self.guests().sending.retain(|(n, _)| *n != number);
    }

    fn leave(&self, number: u64) {
        self.received(number);
        self.guests().open -= 1;
        self.left.notify_all();
    }
}

/// Answers requests until the process ends.
pub(crate) fn serve(listener: &TcpListener, answer: &(dyn Fn(&[u8]) -> Answer + Sync)) {
    serve_within(listener, answer, Bounds { connections: CONNECTIONS, patience: PATIENCE }, u64::MAX);
}

/// The same for so many connections.
fn serve_within(listener: &TcpListener, answer: &(dyn Fn(&[u8]) -> Answer + Sync), bounds: Bounds, count: u64) {
    let door = Door::default();
    std::thread::scope(|scope| {
        for number in 0..count {
            let accepted = listener.accept().and_then(|(stream, _)| Ok((stream.try_clone()?, stream)));
            let Ok((handle, stream)) = accepted else {
                // Out of file descriptors, or gone before it was accepted: the
                // next one may be luckier, but not at full speed.
                std::thread::sleep(Duration::from_millis(50));
                continue;
            };
            door.enter(number, handle, bounds.connections);
            let door = &door;
            let exchanged = std::thread::Builder::new().spawn_scoped(scope, move || {
                exchange(&stream, answer, bounds.patience, &|| door.received(number));
                door.leave(number);
            });
            if exchanged.is_err() {
                door.leave(number);
            }
        }
    });
}

/// Reads one request, answers it and closes the connection; says when the
/// request is read.
fn exchange(stream: &TcpStream, answer: &dyn Fn(&[u8]) -> Answer, patience: Duration, received: &dyn Fn()) {
    let text = |(status, why): Refused| Answer { status, content_type: TEXT, body: format!("{why}\n") };
    let request = request(&mut Timed { stream, deadline: Instant::now() + patience });
    received();
    let answer = match request {
        Ok(body) => answer(&body),
        Err(refused) => text(refused),
    };
    let reason = match answer.status {
        200 => "OK",
        409 => "Conflict",
        422 => "Unprocessable Content",
        500 => "Internal Server Error",
        _ => "Refused",
    };
    let Answer { status, content_type, body } = answer;
    let head = format!("HTTP/1.1 {status} {reason}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n", body.len());
    // Whoever does not wait for the answer asks again, and gets it then.
    let mut out = Timed { stream, deadline: Instant::now() + patience };
    let _gone = out.write_all(format!("{head}Connection: close\r\n\r\n{body}").as_bytes());
    let _gone = stream.shutdown(Shutdown::Write);
    // What is still unread would turn the close into a reset that swallows the
    // answer.
    let rest = Timed { stream, deadline: Instant::now() + LINGER };
    let _rest = std::io::copy(&mut Read::take(rest, MAX_REQUEST as u64), &mut std::io::sink());
}

/// Reads more of a stream into `bytes`, before its deadline.
fn read_more(stream: &mut Timed<'_>, bytes: &mut Vec<u8>) -> Result<(), Refused> {
    const LATE: Refused = (408, "the request took too long");
    let mut buffer = [0; 4096];
    match stream.read(&mut buffer) {
        Ok(0) => Err((400, "the request ends early")),
        Ok(n) => {
            bytes.extend_from_slice(buffer.get(..n).unwrap_or_default());
            Ok(())
        }
        Err(e) if e.kind() == ErrorKind::Interrupted => Ok(()),
        Err(_) => Err(LATE),
    }
}

/// The body of the one request that is understood.
fn request(stream: &mut Timed<'_>) -> Result<Vec<u8>, Refused> {
    let mut bytes = Vec::new();
    let end = loop {
        let end = bytes.windows(4).position(|w| w == b"\r\n\r\n");
        if let Some(end) = end.filter(|end| *end <= MAX_HEAD) {
            break end;
        }
        if bytes.len() > MAX_HEAD {
            return Err((431, "the head of the request is too long"));
        }
        read_more(stream, &mut bytes)?;
    };
    let mut body = bytes.split_off(end + 4);
    let head = std::str::from_utf8(&bytes[..end]).map_err(|_| (400, "the head of the request is not text"))?;
    let (length, expects) = read_head(head)?;
    if expects && body.is_empty() {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").map_err(|_| (400, "the request ends early"))?;
    }
    while body.len() < length {
        read_more(stream, &mut body)?;
    }
    body.truncate(length);
    Ok(body)
}

/// The length of the body, and whether the client waits to be told to send it.
fn read_head(head: &str) -> Result<(usize, bool), Refused> {
    let mut lines = head.split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (method, path, version) = (words.next(), words.next(), words.next());
    if !matches!(version, Some("HTTP/1.1" | "HTTP/1.0")) || words.next().is_some() {
        return Err((400, "this is no HTTP/1 request"));
    }
    if path != Some(PATH) {
        return Err((404, "there is only /add-checkpoint here"));
    }
    if method != Some("POST") {
        return Err((405, "/add-checkpoint is posted to"));
    }
    let (mut length, mut expects) = (None, false);
    for line in lines {
        let (name, value) = line.split_once(':').ok_or((400, "a header has no colon"))?;
        let value = value.trim_matches([' ', '\t']);
        match name.to_ascii_lowercase().as_str() {
            "content-length" => {
                let digits = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
                let n = value.parse::<usize>().ok().filter(|_| digits && length.is_none());
                length = Some(n.ok_or((400, "the length of the request is no number"))?);
            }
            "transfer-encoding" => return Err((411, "send the request with its length")),
            "expect" => expects = value.eq_ignore_ascii_case("100-continue"),
            name if name.is_empty() || name.contains([' ', '\t']) => return Err((400, "a header has no name")),
            _ => {}
        }
    }
    match length {
        None => Err((411, "send the request with its length")),
        Some(length) if length > MAX_REQUEST => Err((413, "the request is longer than 72 KiB")),
        Some(length) => Ok((length, expects)),
    }
}

/// Posts a request to a witness: `url` is its submission prefix. All of it, but
/// the look-up of a name, is over within ten seconds.
pub(crate) fn post(url: &str, body: &str) -> Result<Answer> {
    post_within(url, body, PATIENCE)
}

fn post_within(url: &str, body: &str, patience: Duration) -> Result<Answer> {
    let failed = |why: &str| Error::new(Code::WitnessRefused, format!("the witness at {url} {why}"));
    let rest = url.strip_prefix("http://").ok_or_else(|| {
        let hint = "For https, send it yourself: mirrordna checkpoint --request 0 | curl --data-binary @- URL/add-checkpoint";
        Error::new(Code::InputInvalid, format!("'{url}' does not begin with http://")).with_hint(hint)
    })?;
    let (host, prefix) = rest.split_once('/').map_or((rest, ""), |(host, path)| (host, path.trim_end_matches('/')));
    if host.is_empty() || url.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(Error::new(Code::InputInvalid, format!("'{url}' names no host")));
    }
    let prefix = if prefix.is_empty() { String::new() } else { format!("/{prefix}") };
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()));
    let address = if has_port { host.to_owned() } else { format!("{host}:80") };
    let mut last = None;
    let mut connected = None;
    let addresses = address.to_socket_addrs().map_err(|e| failed("has an unknown name").caused_by(e))?;
    let deadline = Instant::now() + patience;
    for address in addresses {
        // No time at all is an error of its own.
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        match TcpStream::connect_timeout(&address, left) {
            Ok(stream) => {
                connected = Some(stream);
                break;
            }
            Err(e) => last = Some(e),
        }
    }
    let stream = match (connected, last) {
        (Some(stream), _) => stream,
        (None, Some(e)) => return Err(failed("cannot be reached").caused_by(e)),
        (None, None) => return Err(failed("has no address")),
    };
    let silent = |e| failed("does not answer").caused_by(e);
    let mut stream = Timed { stream: &stream, deadline };
    // HTTP/1.0: the answer then comes in one piece, ended by its length or the
    // end of the connection.
    let head =
        format!("POST {prefix}{PATH} HTTP/1.0\r\nHost: {host}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes())).map_err(silent)?;
    let mut bytes = Vec::new();
    Read::take(stream, MAX_RESPONSE).read_to_end(&mut bytes).map_err(silent)?;
    read_response(&bytes).ok_or_else(|| failed("does not answer as HTTP/1 servers do"))
}

/// Reads a response: status, media type as far as it matters, and body.
fn read_response(bytes: &[u8]) -> Option<Answer> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (head, mut body) = text.split_once("\r\n\r\n")?;
    let mut lines = head.split("\r\n");
    let mut words = lines.next()?.split(' ');
    let version = words.next()?;
    let status = words.next().filter(|s| s.len() == 3)?.parse().ok()?;
    if !version.starts_with("HTTP/1.") {
        return None;
    }
    let mut content_type = TEXT;
    for line in lines {
        let (name, value) = line.split_once(':')?;
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => body = body.get(..value.parse().ok()?)?,
            "content-type" if value.eq_ignore_ascii_case(SIZE) => content_type = SIZE,
            "transfer-encoding" => return None,
            _ => {}
        }
    }
    Some(Answer { status, content_type, body: body.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends raw bytes to a server that echoes the body, and reads all of the
    /// answer.
    fn sent(bytes: &[u8]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let echo = |body: &[u8]| Answer { status: 200, content_type: TEXT, body: String::from_utf8_lossy(body).into_owned() };
        let server = std::thread::spawn(move || exchange(&listener.accept().unwrap().0, &echo, PATIENCE, &|| {}));
        let mut stream = TcpStream::connect(address).unwrap();
        // A server that refuses may be gone before it has read all of it.
        let _refused = stream.write_all(bytes);
        let _refused = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = String::new();
        let _reset = stream.read_to_string(&mut answer);
        server.join().unwrap();
        answer
    }

    #[test]
    fn one_form_of_request_is_understood() {
        let answer = sent(b"POST /add-checkpoint HTTP/1.1\r\nHost: x\r\ncontent-LENGTH: 5\r\n\r\nold 0");
        assert!(
            answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("Content-Length: 5\r\nConnection: close\r\n\r\nold 0"),
            "{answer}"
        );
        let answer = sent(b"POST /add-checkpoint HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK"), "{answer}");
        for (status, request) in [
            (400, "".to_owned()),
            (400, "hello\r\n\r\n".to_owned()),
            (400, "POST /add-checkpoint HTTP/2\r\n\r\n".to_owned()),
            (400, "POST /add-checkpoint HTTP/1.1 x\r\n\r\n".to_owned()),
            (400, "POST /add-checkpoint HTTP/1.1\r\nContent-Length: -1\r\n\r\n".to_owned()),
            (400, "POST /add-checkpoint HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx".to_owned()),
            (400, "POST /add-checkpoint HTTP/1.1\r\nContent-Length : 1\r\n\r\nx".to_owned()),
            (400, "POST /add-checkpoint HTTP/1.1\r\nno colon\r\n\r\n".to_owned()),
            (400, "POST /add-checkpoint HTTP/1.1\r\nContent-Length: 9\r\n\r\nshort".to_owned()),
            (404, "POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n".to_owned()),
            (404, "GET /etc/passwd HTTP/1.1\r\n\r\n".to_owned()),
            (405, "GET /add-checkpoint HTTP/1.1\r\n\r\n".to_owned()),
            (411, "POST /add-checkpoint HTTP/1.1\r\n\r\n".to_owned()),
            (411, "POST /add-checkpoint HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n0\r\n\r\n".to_owned()),
            (413, "POST /add-checkpoint HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n".to_owned()),
            (431, format!("POST /add-checkpoint HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(9000))),
        ] {
            let answer = sent(request.as_bytes());
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{:?}: {answer}", request.get(..80));
        }
    }

    const SLOW: Duration = Duration::from_millis(5);

    /// A client that never stops sending, one byte at a time, is answered when its
    /// time is over, though each of its bytes comes in time.
    #[test]
    fn a_request_that_goes_on_and_on_is_cut_off() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let never = |_: &[u8]| -> Answer { panic!("was taken for a request") };
        let server = std::thread::spawn(move || exchange(&listener.accept().unwrap().0, &never, 20 * SLOW, &|| {}));
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"POST /add-checkpoint HTTP/1.1\r\nContent-Length: 70000\r\n\r\n").unwrap();
        let mut slow = stream.try_clone().unwrap();
        let trickle = std::thread::spawn(move || {
            // Without an end to it, the server would read until all is sent.
            for _ in 0..70_000 {
                if slow.write_all(b"x").is_err() {
                    break;
                }
                std::thread::sleep(SLOW);
            }
        });
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 408");
        server.join().unwrap();
        drop(stream);
        trickle.join().unwrap();
    }

    /// As many as are let in, all of them silent, do not keep out the next one.
    #[test]
    fn slow_clients_do_not_starve_others() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let bounds = Bounds { connections: 3, patience: Duration::from_secs(600) };
        let echo = |body: &[u8]| Answer { status: 200, content_type: TEXT, body: String::from_utf8_lossy(body).into_owned() };
        let server = std::thread::spawn(move || serve_within(&listener, &echo, bounds, 8));
        let mut slow: Vec<TcpStream> = (0..5).map(|_| TcpStream::connect(address).unwrap()).collect();
        slow.iter_mut().for_each(|stream| stream.write_all(b"P").unwrap());
        for n in 0..3 {
            let answer = post(&format!("http://{address}"), &format!("old {n}")).unwrap();
            assert_eq!((answer.status, answer.body), (200, format!("old {n}")));
        }
        // Who was sent away reads an end, or a reset where something was unread.
        let mut oldest = slow.remove(0);
        let mut answer = Vec::new();
        assert!(oldest.read_to_end(&mut answer).is_err() || answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"));
        drop((oldest, slow));
        server.join().unwrap();
    }

    #[test]
    fn an_answer_that_goes_on_and_on_is_not_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n{}", "x".repeat(2000));
            for byte in answer.bytes() {
                if stream.write_all(&[byte]).is_err() {
                    break;
                }
                std::thread::sleep(SLOW);
            }
        });
        let error = post_within(&format!("http://{address}"), "old 0", 20 * SLOW).unwrap_err();
        assert!(error.code() == Code::WitnessRefused && error.message().contains("does not answer"), "{error}");
        server.join().unwrap();
    }

    #[test]
    fn answers_are_read_strictly() {
        let read = |text: &str| read_response(text.as_bytes()).map(|a| (a.status, a.content_type, a.body));
        assert_eq!(read("HTTP/1.1 409 Conflict\r\nContent-Type: text/x.tlog.size\r\n\r\n7\n"), Some((409, SIZE, "7\n".into())));
        assert_eq!(read("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nabc"), Some((200, TEXT, "ab".into())));
        for text in
            ["", "HTTP/2 200 OK\r\n\r\n", "HTTP/1.1 2000\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", "HTTP/1.1 200 OK\n\n"]
        {
            assert_eq!(read(text), None, "{text:?}");
        }
        assert_eq!(read("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), None);
    }

    #[test]
    fn only_plain_http_is_asked() {
        for url in ["https://witness.example", "witness.example", "http://", "http:///x", "http://a b"] {
            assert_eq!(post(url, "").unwrap_err().code(), Code::InputInvalid, "{url}");
        }
    }
}
