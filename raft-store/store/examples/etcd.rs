//! The store alone, under etcd's flag names: what etcd's own tools are tried against.

use std::{
    collections::HashMap,
    io::Write,
    net::{SocketAddr, ToSocketAddrs},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use stdx::{
    Shutdown,
    tls::{ClientAuth, ServerTls},
};
use store::{Address, Config, Initial, Listen, Serves, Serving};

#[tokio::main]
async fn main() -> Result<()> {
    let flags = flags()?;
    if flags.contains_key("version") {
        writeln!(std::io::stdout(), "etcd Version: {}", store::VERSION)?;
        return Ok(());
    }
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or("info".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let config = config(&flags)?;
    let shutdown = Shutdown::new();
    let serving = Serving::from(&config);
    let handle = store::start(config, shutdown.clone()).await?;
    let stop = shutdown.clone();
    let member = handle.clone();
    tokio::spawn(async move {
        let mut terminate =
            tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
                .expect("signals can be watched");
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
            _ = member.closed() => {}
        }
        stop.trigger();
    });
    let ready = handle.clone();
    tokio::spawn(async move {
        if ready.barrier().await.is_ok() {
            tracing::info!("ready to serve client requests");
        }
    });
    store::serve(serving, handle.clone(), shutdown).await?;
    Ok(handle.closed().await?)
}

/// Flags as names and values; those without a value are true.
fn flags() -> Result<HashMap<String, String>> {
    let mut flags = HashMap::new();
    let mut arguments = std::env::args().skip(1).peekable();
    while let Some(argument) = arguments.next() {
        let Some(flag) = argument.strip_prefix("--") else { bail!("what is {argument:?}?") };
        let (name, value) = match flag.split_once('=') {
            Some((name, value)) => (name.to_owned(), value.to_owned()),
            None => {
                let value = arguments.next_if(|next| !next.starts_with("--"));
                (flag.to_owned(), value.unwrap_or_else(|| "true".to_owned()))
            }
        };
        flags.insert(name, value);
    }
    Ok(flags)
}

fn config(flags: &HashMap<String, String>) -> Result<Config> {
    let flag =
        |name: &str, default: &str| flags.get(name).cloned().unwrap_or_else(|| default.to_owned());
    let name = flag("name", "default");
    let dir = flag("data-dir", &format!("{name}.etcd"));
    let peers = flag("listen-peer-urls", "http://127.0.0.1:2380");
    let peer = addresses(&peers)?[0];
    let clients = flag("listen-client-urls", "http://127.0.0.1:2379");
    let advertised = flag("initial-advertise-peer-urls", &peers);
    let initial = flag("initial-cluster", &format!("{name}={advertised}"));
    let mut members: Vec<(String, Vec<String>)> = Vec::new();
    for part in initial.split(',') {
        let (name, url) = part.split_once('=').context("a member without a URL")?;
        match members.iter_mut().find(|(known, _)| known == name) {
            Some((_, urls)) => urls.push(url.to_owned()),
            None => members.push((name.to_owned(), vec![url.to_owned()])),
        }
    }
    let millis = |name: &str, default: Duration| -> Result<Duration> {
        Ok(flags
            .get(name)
            .map(|text| text.parse())
            .transpose()?
            .map_or(default, Duration::from_millis))
    };
    let defaults = Config::new(&name, dir.into(), peer);
    let tls = flags.get("cert-file").map(|cert| ServerTls {
        cert: cert.into(),
        key: flag("key-file", "").into(),
        client_ca: flags.get("trusted-ca-file").map(Into::into),
        client_auth: match flags.get("client-cert-auth").map(String::as_str) {
            Some("true") => ClientAuth::Required,
            _ => ClientAuth::None,
        },
        alpn: Vec::new(),
    });
    Ok(Config {
        peer_urls: urls(&advertised),
        initial: members,
        state: match flag("initial-cluster-state", "new").as_str() {
            "existing" => Initial::Existing,
            _ => Initial::New,
        },
        token: flag("initial-cluster-token", "etcd-cluster"),
        heartbeat: millis("heartbeat-interval", defaults.heartbeat)?,
        election: millis("election-timeout", defaults.election)?,
        listen_client: places(&clients)?,
        client_urls: urls(&flag("advertise-client-urls", &clients)),
        client_tls: tls,
        auth_token: flag("auth-token", store::DEFAULT_AUTH_TOKEN),
        auth_token_ttl: Duration::from_secs(flag("auth-token-ttl", "300").parse()?),
        bcrypt_cost: flag("bcrypt-cost", "10").parse()?,
        quota_bytes: flag("quota-backend-bytes", "0").parse()?,
        progress_interval: seconds(&flag("watch-progress-notify-interval", "600s"))?,
        ..defaults
    })
}

fn urls(list: &str) -> Vec<String> {
    list.split(',').map(ToOwned::to_owned).collect()
}

/// Where to listen, with TLS where the URL says so.
fn places(list: &str) -> Result<Vec<Listen>> {
    let all = addresses(list)?.into_iter().zip(list.split(','));
    let place = |(address, url): (SocketAddr, &str)| Listen {
        address: Address::Tcp(address),
        secure: url.starts_with("https"),
        serves: Serves::All,
    };
    Ok(all.map(place).collect())
}

fn addresses(list: &str) -> Result<Vec<SocketAddr>> {
    let mut found = Vec::new();
    for url in list.split(',') {
        let host = url.split_once("://").map_or(url, |(_, host)| host);
        let address = host.trim_end_matches('/').to_socket_addrs()?.next();
        found.push(address.with_context(|| format!("{url} has no address"))?);
    }
    Ok(found)
}

fn seconds(text: &str) -> Result<Duration> {
    match text.strip_suffix("ms") {
        Some(millis) => Ok(Duration::from_millis(millis.parse()?)),
        None => Ok(Duration::from_secs_f64(text.trim_end_matches('s').parse()?)),
    }
}
