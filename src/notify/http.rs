//! The only access to the network: sends a text to an address, with a time limit and a few tries.
//!
//! An address may be a secret, and so may the target of a redirect: no error contains either, and
//! no redirect is followed. The answer is not quoted, because it may repeat the address.

use crate::fs::stop::Stop;
use std::sync::Arc;
use std::time::Duration;
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Error};

/// The limit for one try, from the look-up of the name to the end of the answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Pauses before another try: one fewer than there are tries.
const PAUSES: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(2)];

/// The HTTP method.
#[derive(Debug, Clone, Copy)]
pub(super) enum Method {
    /// Only asks; sends nothing.
    Get,
    /// Adds the body.
    Post,
    /// Replaces what is there.
    Put,
    /// Sends nothing, and deletes what is there.
    Delete,
}

/// A text and its destination.
pub(super) struct Message<'a> {
    pub(super) method: Method,
    pub(super) url: &'a str,
    pub(super) content_type: &'a str,
    pub(super) body: &'a str,
}

/// Sends a text, and tries again if that may help, until it is time to stop. The answer must be a
/// 2xx.
///
/// # Errors
/// Why it was not accepted, and what helps.
pub(super) fn send(message: &Message<'_>, stop: &Stop) -> Result<(), SendError> {
    let agent = agent(message.url.starts_with("https://"));
    let mut tries = 1;
    loop {
        let wrong = match once(&agent, message) {
            Ok(status) if (200..300).contains(&status) => return Ok(()),
            Ok(status) => Wrong::of_status(status),
            Err(error) => Wrong::of(&error),
        };
        let Some(pause) = PAUSES.get(tries - 1).filter(|_| wrong.may_pass) else {
            return Err(wrong.after(tries));
        };
        stop.sleep(*pause);
        if stop.reached().is_some() {
            return Err(wrong.after(tries));
        }
        tries += 1;
    }
}

fn once(agent: &Agent, message: &Message<'_>) -> Result<u16, Error> {
    let url = message.url;
    let request = match message.method {
        Method::Post => agent.post(url),
        Method::Put => agent.put(url),
        Method::Get => return Ok(agent.get(url).call()?.status().as_u16()),
        Method::Delete => return Ok(agent.delete(url).call()?.status().as_u16()),
    };
    Ok(request
        .content_type(message.content_type)
        .send(message.body)?
        .status()
        .as_u16())
}

fn agent(secure: bool) -> Agent {
    let config = Agent::config_builder()
        .timeout_global(Some(TIMEOUT))
        .http_status_as_error(false);
    let config = config
        .max_redirects(0)
        .max_redirects_will_error(false)
        .user_agent(concat!("treewarden/", env!("CARGO_PKG_VERSION")));
    if secure {
        config.tls_config(tls()).build()
    } else {
        config.build()
    }
    .into()
}

/// Trusts the machine's certificates, or `SSL_CERT_FILE`'s: a cluster has its own authorities.
fn tls() -> TlsConfig {
    let roots = rustls_native_certs::load_native_certs().certs;
    let roots: Vec<Certificate<'static>> = roots
        .iter()
        .map(|root| Certificate::from_der(root).to_owned())
        .collect();
    let crypto = Arc::new(rustls::crypto::ring::default_provider());
    TlsConfig::builder()
        .root_certs(RootCerts::Specific(Arc::new(roots)))
        .unversioned_rustls_crypto_provider(crypto)
        .build()
}

/// Why a text was not accepted, in words without the address.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    /// Another try would not have helped, or there was no time for it.
    #[error("{0}")]
    Once(String),
    /// It failed in each of so many tries.
    #[error("{0} (tried {1} times)")]
    Often(String, usize),
}

/// What went wrong, in words without the address.
struct Wrong {
    what: String,
    /// Whether another try may succeed.
    may_pass: bool,
}

impl Wrong {
    fn of_status(status: u16) -> Self {
        let (what, may_pass) = match status {
            300..=399 => (
                format!(
                    "it answered {status}, a redirect, and those are not followed; give the address that it leads to"
                ),
                false,
            ),
            401 | 403 | 404 | 410 => (
                format!("it answered {status}; see that the address is right and still good"),
                false,
            ),
            429 | 500.. => (format!("it answered {status}; look into its own log"), true),
            _ => (
                format!("it answered {status}, and so took nothing; look into its own log"),
                false,
            ),
        };
        Self { what, may_pass }
    }

    fn of(error: &Error) -> Self {
        if let Some(error) = of_tls(error) {
            let what = match error {
                rustls::Error::InvalidCertificate(_) => {
                    "its certificate is not trusted here; name its authority with SSL_CERT_FILE"
                }
                _ => "no secure connection could be made; see that it speaks TLS",
            };
            return Self {
                what: what.to_owned(),
                may_pass: false,
            };
        }
        let (what, may_pass) = match error {
            Error::Timeout(_) => (
                format!(
                    "no answer within {} s; see that it is up",
                    TIMEOUT.as_secs()
                ),
                true,
            ),
            Error::HostNotFound => (
                "its host's name is not known; see that the address is right".to_owned(),
                true,
            ),
            // Only the kind: the rest may name the host.
            Error::Io(error) => (format!("{}; see that it is up", error.kind()), true),
            Error::Protocol(_) => (
                "it doesn't speak HTTP; see that the address is right".to_owned(),
                true,
            ),
            Error::BadUri(_) | Error::Http(_) => (
                "its address is none; write one as in http://host:9091".to_owned(),
                false,
            ),
            Error::ConnectProxyFailed(_) | Error::InvalidProxyUrl => (
                "the proxy that the environment names gave no connection".to_owned(),
                true,
            ),
            _ => (
                "no connection could be made; see that it is up".to_owned(),
                true,
            ),
        };
        Self { what, may_pass }
    }

    fn after(self, tries: usize) -> SendError {
        match tries {
            1 => SendError::Once(self.what),
            _ => SendError::Often(self.what, tries),
        }
    }
}

/// Returns the TLS error, if it is one. While data flows, it is wrapped in an I/O error.
fn of_tls(error: &Error) -> Option<&rustls::Error> {
    match error {
        Error::Rustls(error) => Some(error),
        Error::Io(error) => error.get_ref()?.downcast_ref(),
        _ => None,
    }
}
