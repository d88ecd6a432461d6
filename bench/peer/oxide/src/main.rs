//! engineioxide on hyper: echo, or broadcast in a loop over all clients.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use engineioxide::config::EngineIoConfig;
use engineioxide::handler::EngineIoHandler;
use engineioxide::service::EngineIoService;
use engineioxide::{DisconnectReason, Socket, Str};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

#[derive(Debug, Default)]
struct App {
    broadcast: bool,
    work: Duration,
    sockets: Mutex<HashMap<String, Arc<Socket<()>>>>,
}

impl EngineIoHandler for App {
    type Data = ();

    fn on_connect(self: Arc<Self>, socket: Arc<Socket<()>>) {
        if self.broadcast {
            self.sockets.lock().unwrap().insert(socket.id.to_string(), socket);
        }
    }

    fn on_disconnect(&self, socket: Arc<Socket<()>>, _: DisconnectReason) {
        if self.broadcast {
            self.sockets.lock().unwrap().remove(&socket.id.to_string());
        }
    }

    fn on_message(self: &Arc<Self>, message: Str, socket: Arc<Socket<()>>) {
        if !self.work.is_zero() {
            let began = Instant::now();
            while began.elapsed() < self.work {}
        }
        if !self.broadcast {
            socket.emit(message).ok();
            return;
        }
        for s in self.sockets.lock().unwrap().values() {
            s.emit(message.clone()).ok();
        }
    }

    fn on_binary(self: &Arc<Self>, data: Bytes, socket: Arc<Socket<()>>) {
        socket.emit_binary(data).ok();
    }
}

fn setting(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"))
}

fn milliseconds(name: &str) -> Duration {
    Duration::from_millis(setting(name).parse().expect("a number of milliseconds"))
}

/// The TLS that hyper's examples use, when there is a certificate: engineioxide
/// has none of its own.
fn acceptor() -> Option<TlsAcceptor> {
    let certificate = CertificateDer::from_pem_file(std::env::var("TLS_CERT").ok()?).expect("a certificate");
    let key = PrivateKeyDer::from_pem_file(setting("TLS_KEY")).expect("a key");
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("a key of the certificate");
    Some(TlsAcceptor::from(Arc::new(config)))
}

async fn serve<S>(stream: S, service: EngineIoService<App>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    connection.with_upgrades().await.ok();
}

#[tokio::main]
async fn main() {
    let config = EngineIoConfig::builder()
        .req_path("/engine.io")
        .ping_interval(milliseconds("PING_INTERVAL"))
        .ping_timeout(milliseconds("PING_TIMEOUT"))
        .max_buffer_size(4096)
        .max_payload(1_000_000)
        .build();
    let work = Duration::from_micros(setting("WORK").parse().expect("a number of microseconds"));
    let app = App { broadcast: setting("APP") == "broadcast", work, ..App::default() };
    let service = EngineIoService::with_config(Arc::new(app), config);
    let address = SocketAddr::from(([127, 0, 0, 1], setting("PORT").parse().expect("a port")));
    let acceptor = acceptor();
    let listener = TcpListener::bind(address).await.expect("a free port");
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        stream.set_nodelay(true).ok();
        let service = service.clone();
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            match acceptor {
                None => serve(stream, service).await,
                Some(acceptor) => {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        serve(stream, service).await;
                    }
                }
            }
        });
    }
}
