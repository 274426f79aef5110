//! AWS Signature Version 4, in the header `Authorization`
//! (docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html).

use hmac::{Hmac, Mac as _};
use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use postern_config::{
    KeyProblem,
    backend::send_auth::{AwsSigV4, SendAuth},
};
use postern_shared::value::{NOT_A_HEADER_VALUE, Secret, Settings};
use reqwest::{
    Request, Url,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
};
use sha2::{Digest as _, Sha256};

/// The characters that signatures encode: all but those of RFC 3986, 2.3.
const NOT_UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
const DATE: HeaderName = HeaderName::from_static("x-amz-date");
const SECURITY_TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");

/// Signs the requests of one backend.
#[derive(Debug)]
pub(crate) struct AwsSigner {
    region: String,
    service: String,
    access_key_id: Secret,
    secret_access_key: Secret,
    session_token: Option<HeaderValue>,
}

impl AwsSigner {
    /// The signer that `auth` describes, whose secrets are resolved. `None` if `auth` describes no signer.
    ///
    /// # Errors
    /// The key below the backend's that is wrong, and why.
    pub(crate) fn new(auth: Option<&SendAuth>, settings: &Settings) -> Result<Option<Self>, KeyProblem> {
        let Some(SendAuth::AwsSigv4(table)) = auth else { return Ok(None) };
        let AwsSigV4 { region, service, access_key_id, secret_access_key, session_token } = &**table;
        let wrong = |key: &str, why: &str| (format!("send.auth.aws_sigv4.{key}"), why.to_owned());
        let name = |key: &str, text: Option<String>| {
            let is_name = |text: &String| text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
            text.filter(is_name)
                .ok_or_else(|| wrong(key, "must consist of a-z, 0-9 and -, such as eu-west-1"))
        };
        if !access_key_id.expose().bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Err(wrong("access_key_id", "must consist of letters and digits"));
        }
        let session_token = session_token.as_ref().map(|token| {
            let header = HeaderValue::from_str(token.expose());
            let mut header = header.map_err(|_| wrong("session_token", NOT_A_HEADER_VALUE))?;
            header.set_sensitive(true);
            Ok::<_, KeyProblem>(header)
        });
        Ok(Some(Self {
            region: name("region", region.render(settings))?,
            service: name("service", service.render(settings))?,
            access_key_id: access_key_id.clone(),
            secret_access_key: secret_access_key.clone(),
            session_token: session_token.transpose()?,
        }))
    }

    /// Signs `request` as made at `now`: its method, its URL, its body, and those of its headers that no
    /// proxy changes.
    pub(crate) fn sign(&self, request: &mut Request, now: Timestamp) {
        let time = now.strftime("%Y%m%dT%H%M%SZ").to_string();
        let date = time[..8].to_owned();
        if let Ok(time) = HeaderValue::from_str(&time) {
            request.headers_mut().insert(DATE, time);
        }
        if let Some(token) = &self.session_token {
            request.headers_mut().insert(SECURITY_TOKEN, token.clone());
        }
        let body = request.body().and_then(reqwest::Body::as_bytes).unwrap_or_default();
        let (names, canonical) = canonical(request.method().as_str(), request.url(), request.headers(), body);
        let scope = format!("{date}/{}/{}/aws4_request", self.region, self.service);
        let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{:x}", Sha256::digest(canonical));
        let secret = format!("AWS4{}", self.secret_access_key.expose());
        let key = [&date, &self.region, &self.service, "aws4_request"]
            .into_iter()
            .fold(secret.into_bytes(), |key, part: &str| hmac(&key, part).to_vec());
        let signature = hmac(&key, &to_sign).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let id = self.access_key_id.expose();
        let value =
            format!("AWS4-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders={names}, Signature={signature}");
        if let Ok(mut value) = HeaderValue::from_str(&value) {
            value.set_sensitive(true);
            request.headers_mut().insert(AUTHORIZATION, value);
        }
    }
}

fn hmac(key: &[u8], text: &str) -> [u8; 32] {
    // HMAC takes keys of any length (RFC 2104, 3).
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return [0; 32] };
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().into()
}

/// The names of the headers that are signed, and the canonical request, which both sides compute.
fn canonical(method: &str, url: &Url, headers: &HeaderMap, body: &[u8]) -> (String, String) {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    let mut signed = vec![("host", format!("{}{port}", url.host_str().unwrap_or_default()))];
    for (name, value) in headers {
        if name == CONTENT_TYPE || name.as_str().starts_with("x-amz-") {
            let value = String::from_utf8_lossy(value.as_bytes());
            signed.push((name.as_str(), value.split_ascii_whitespace().collect::<Vec<_>>().join(" ")));
        }
    }
    signed.sort();
    let names = signed.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
    let lines = signed.iter().map(|(name, value)| format!("{name}:{value}\n")).collect::<String>();
    // For every service but S3, the path is encoded a second time.
    let path = url.path().split('/').map(encoded).collect::<Vec<_>>().join("/");
    let hash = Sha256::digest(body);
    let text = format!("{method}\n{path}\n{}\n{lines}\n{names}\n{hash:x}", query(url));
    (names, text)
}

/// The parameters in order, with each name and each value encoded again.
fn query(url: &Url) -> String {
    let parts = url.query().unwrap_or_default().split('&').filter(|part| !part.is_empty());
    let anew = |part: &str| encoded(&percent_decode_str(&part.replace('+', " ")).decode_utf8_lossy());
    let mut all: Vec<_> = parts
        .map(|part| part.split_once('=').unwrap_or((part, "")))
        .map(|(name, value)| (anew(name), anew(value)))
        .collect();
    all.sort();
    all.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NOT_UNRESERVED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::Method;

    /// From AWS's own test suite, by the names of its cases.
    #[test]
    fn signatures_are_those_of_the_published_vectors() {
        let signer = AwsSigner {
            region: "us-east-1".to_owned(),
            service: "service".to_owned(),
            access_key_id: "AKIDEXAMPLE".to_owned().into(),
            secret_access_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned().into(),
            session_token: None,
        };
        for (name, method, target, body, signed, signature) in [
            (
                "get-vanilla",
                Method::GET,
                "/",
                "",
                "host;x-amz-date",
                "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
            ),
            (
                "post-vanilla",
                Method::POST,
                "/",
                "",
                "host;x-amz-date",
                "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
            ),
            (
                "get-vanilla-query-order-key-case",
                Method::GET,
                "/?Param2=value2&Param1=value1",
                "",
                "host;x-amz-date",
                "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
            ),
            (
                "post-x-www-form-urlencoded",
                Method::POST,
                "/",
                "Param1=value1",
                "content-type;host;x-amz-date",
                "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
            ),
        ] {
            let url = format!("https://example.amazonaws.com{target}").parse().unwrap();
            let mut request = Request::new(method, url);
            // Headers that proxies may change are not signed.
            request.headers_mut().insert("traceparent", HeaderValue::from_static("00-1-1-00"));
            if !body.is_empty() {
                let form = HeaderValue::from_static("application/x-www-form-urlencoded");
                request.headers_mut().insert(CONTENT_TYPE, form);
                *request.body_mut() = Some(body.into());
            }
            signer.sign(&mut request, "2015-08-30T12:36:00Z".parse().unwrap());
            let expected = format!(
                "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
                 SignedHeaders={signed}, Signature={signature}"
            );
            assert_eq!(request.headers()[AUTHORIZATION], expected.as_str(), "{name}");
            assert_eq!(request.headers()[DATE], "20150830T123600Z", "{name}");
        }
    }

    #[test]
    fn a_request_has_one_canonical_form() {
        let url: Url = "https://h:8443/a%2Fb/c?b=%7E+x&a&b=1".parse().unwrap();
        let mut headers = HeaderMap::new();
        headers.insert("X-Amz-Target", HeaderValue::from_static("  a   b "));
        let (names, text) = canonical("PUT", &url, &headers, b"");
        assert_eq!(names, "host;x-amz-target");
        let expected = "PUT\n/a%252Fb/c\na=&b=1&b=~%20x\nhost:h:8443\nx-amz-target:a b\n\nhost;x-amz-target\n\
                        e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(text, expected);
    }
}
