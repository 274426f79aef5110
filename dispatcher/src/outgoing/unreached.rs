//! Why a host gave no answer, in words that may go into a log: those of our own side, never the host's.

use reqwest::Url;
use rustls::CertificateError;
use std::{error::Error, io};

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

/// What the errors below `error` say, from the outermost to the innermost.
fn said_below(error: &(dyn Error + 'static)) -> Option<&'static str> {
    let mut next = error.source();
    while let Some(error) = next {
        if let Some(reason) = said(error) {
            return Some(reason);
        }
        next = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            // Its source is what lies below the error that it holds.
            Some(held) => Some(held),
            None => error.source(),
        };
    }
    None
}

fn said(error: &(dyn Error + 'static)) -> Option<&'static str> {
    if let Some(tls) = error.downcast_ref::<rustls::Error>() {
        return Some(of_tls(tls));
    }
    // The HTTP client's own name for it; its type is not public.
    if error.to_string() == "dns error" {
        return Some(of_lookup(error));
    }
    error.downcast_ref::<io::Error>().and_then(|error| of_io(error.kind()))
}

/// The system's resolver says what it found in a text only.
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
        io::ErrorKind::PermissionDenied => "connecting is not permitted",
        _ => return None,
    })
}

fn of_tls(error: &rustls::Error) -> &'static str {
    use rustls::Error::{AlertReceived, InvalidCertificate, InvalidMessage, PeerIncompatible};
    match error {
        InvalidCertificate(certificate) => of_certificate(certificate),
        InvalidMessage(_) => "TLS failed: the host does not speak TLS at this port",
        PeerIncompatible(_) => "TLS failed: no version or cipher that both sides know",
        AlertReceived(_) => "TLS failed: the host refused the handshake",
        _ => "TLS failed",
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
