//! Why a host gave no answer, in words that may be logged: always our own, never the host's.

use reqwest::Url;
use rustls::{AlertDescription, CertificateError};
use std::{error::Error, io};

/// The reason if a proxy asks for a user name and a password and does not accept ours.
const NOT_BY_PROXY: &str = "the proxy refused the user name and password";

/// The host of `url`, with its port if the URL names one.
pub(crate) fn host(url: &Url) -> Option<String> {
    let host = url.host_str()?;
    Some(url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")))
}

/// Why `error` left a request without an answer.
pub(crate) fn reason(error: &reqwest::Error) -> &'static str {
    let (default, timed_out) = match error.is_connect() {
        true => ("no connection", "connection timed out"),
        false => ("connection closed before the answer", "no answer within the timeout"),
    };
    said_below(error).unwrap_or(if error.is_timeout() { timed_out } else { default })
}

/// Whether the host refused the handshake because of our certificate, or because we showed none. With TLS
/// 1.3, the request may have been written by then, but nobody has read it.
pub(crate) fn certificate_was_refused(error: &reqwest::Error) -> bool {
    chain(error).any(|error| match error.downcast_ref::<rustls::Error>() {
        Some(rustls::Error::AlertReceived(alert)) => of_alert(*alert).is_some(),
        _ => false,
    })
}

/// Whether the proxy refused our user name and password.
pub(crate) fn proxy_refused(error: &reqwest::Error) -> bool {
    reason(error) == NOT_BY_PROXY
}

/// The first known reason among the errors below `error`, from the outermost to the innermost.
fn said_below(error: &(dyn Error + 'static)) -> Option<&'static str> {
    chain(error).find_map(said)
}

/// The errors below `error`, from the outermost to the innermost.
fn chain<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    std::iter::successors(error.source(), |error: &&'e (dyn Error + 'static)| {
        let error: &'e (dyn Error + 'static) = *error;
        match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            // The source of an I/O error skips the error that it holds.
            Some(held) => Some(held),
            None => error.source(),
        }
    })
}

fn said(error: &(dyn Error + 'static)) -> Option<&'static str> {
    if let Some(tls) = error.downcast_ref::<rustls::Error>() {
        return Some(of_tls(tls));
    }
    // The HTTP client's own texts for these errors, whose types are not public.
    match error.to_string().as_str() {
        "dns error" => return Some(of_lookup(error)),
        "tunnel error: proxy authorization required" => return Some(NOT_BY_PROXY),
        "tunnel error: unsuccessful" => return Some("the proxy refused the connection"),
        _ => {}
    }
    error.downcast_ref::<io::Error>().and_then(|error| of_io(error.kind()))
}

/// Why a look-up failed. The system's resolver says that only in a text.
fn of_lookup(error: &(dyn Error + 'static)) -> &'static str {
    match error.source().map(ToString::to_string) {
        Some(text) if text.contains("Temporary failure") => "unknown host: the name server does not answer",
        _ => "unknown host",
    }
}

fn of_io(kind: io::ErrorKind) -> Option<&'static str> {
    Some(match kind {
        io::ErrorKind::ConnectionRefused => "connection refused",
        io::ErrorKind::ConnectionReset => "connection reset",
        io::ErrorKind::ConnectionAborted => "connection aborted",
        io::ErrorKind::HostUnreachable => "host unreachable",
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::NetworkDown => "network unreachable",
        io::ErrorKind::AddrNotAvailable => "no local address to connect from",
        io::ErrorKind::PermissionDenied => "connection not permitted",
        _ => return None,
    })
}

fn of_tls(error: &rustls::Error) -> &'static str {
    use rustls::Error::{AlertReceived, InvalidCertificate, InvalidMessage, PeerIncompatible};
    match error {
        InvalidCertificate(certificate) => of_certificate(certificate),
        InvalidMessage(_) => "TLS failed: the host does not speak TLS at this port",
        PeerIncompatible(_) => "TLS failed: no version or cipher in common",
        AlertReceived(alert) => of_alert(*alert).unwrap_or("TLS failed: the host refused the handshake"),
        _ => "TLS failed",
    }
}

/// What the host says about our certificate. `None` if the alert is about something else.
fn of_alert(alert: AlertDescription) -> Option<&'static str> {
    use AlertDescription::{
        AccessDenied, BadCertificate, CertificateExpired, CertificateRequired, CertificateRevoked,
        CertificateUnknown, UnknownCA, UnsupportedCertificate,
    };
    match alert {
        CertificateRequired => Some("TLS failed: the host requires a client certificate"),
        AccessDenied
        | BadCertificate
        | CertificateExpired
        | CertificateRevoked
        | CertificateUnknown
        | UnknownCA
        | UnsupportedCertificate => Some("TLS failed: the host refused the client certificate"),
        _ => None,
    }
}

fn of_certificate(error: &CertificateError) -> &'static str {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "TLS certificate expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "TLS certificate not valid yet"
        }
        CertificateError::Revoked => "TLS certificate revoked",
        CertificateError::UnknownIssuer => "TLS certificate not trusted: unknown issuer",
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "TLS certificate is for another host"
        }
        _ => "TLS certificate not trusted",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An error as the HTTP client nests them: its own around an I/O error that holds the cause.
    #[derive(Debug, thiserror::Error)]
    #[error("client error (Connect)")]
    struct Outer(#[source] io::Error);

    #[test]
    fn the_reason_is_found_however_deep_it_lies() {
        let tls = |error: rustls::Error| io::Error::new(io::ErrorKind::InvalidData, error);
        let certificate = |error| tls(rustls::Error::InvalidCertificate(error));
        for (error, expected) in [
            (io::Error::from(io::ErrorKind::ConnectionRefused), Some("connection refused")),
            (io::Error::from_raw_os_error(113), Some("host unreachable")),
            (io::Error::other(io::Error::from(io::ErrorKind::ConnectionReset)), Some("connection reset")),
            (certificate(CertificateError::Expired), Some("TLS certificate expired")),
            (
                certificate(CertificateError::UnknownIssuer),
                Some("TLS certificate not trusted: unknown issuer"),
            ),
            (certificate(CertificateError::NotValidForName), Some("TLS certificate is for another host")),
            (io::Error::other(certificate(CertificateError::Revoked)), Some("TLS certificate revoked")),
            (
                tls(rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType)),
                Some("TLS failed: the host does not speak TLS at this port"),
            ),
            (io::Error::other("a text of the host's"), None),
        ] {
            let said = format!("{error:?}");
            assert_eq!(said_below(&Outer(error)), expected, "{said}");
        }
    }

    #[test]
    fn a_host_has_its_port_if_that_is_another_and_never_a_password() {
        for (url, expected) in [
            ("https://u:p@sms.example.org/send?key=hush", "sms.example.org"),
            ("http://127.0.0.1:9009/", "127.0.0.1:9009"),
            ("https://[::1]:8443/", "[::1]:8443"),
        ] {
            assert_eq!(host(&url.parse().unwrap()).as_deref(), Some(expected));
        }
    }
}
