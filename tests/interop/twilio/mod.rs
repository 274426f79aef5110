//! Twilio, by its own Python library: it signs what Postern receives, and sends the same requests.

mod receive;
mod send;

use crate::python;
use postern_tests::{Program, Reply};
use serde_json::{Value, json};

const TOKEN: &str = "12345678901234567890123456789012";

/// A request from Twilio, signed by its library for the address that Twilio knows.
#[derive(Debug, Clone)]
struct Signed {
    /// The path and query that Postern gets.
    target: String,
    params: Vec<(String, String)>,
    /// A JSON body instead of parameters.
    body: Option<String>,
    signature: String,
    /// The value of `X-Twilio-Webhooks-Signature-Settings`.
    algorithm: Option<&'static str>,
}

/// A request to be signed: the address in two parts, before and after the point where a proxy cuts it, and the
/// parameters.
struct Job<'a> {
    public: &'a str,
    target: &'a str,
    params: Vec<(String, String)>,
    body: Option<String>,
    algorithm: Option<&'static str>,
}

impl<'a> Job<'a> {
    fn form(public: &'a str, target: &'a str, params: &[(&str, &str)]) -> Self {
        Self { public, target, params: postern_tests::pairs(params), body: None, algorithm: None }
    }

    fn json(public: &'a str, target: &'a str, body: &Value) -> Self {
        Self { public, target, params: Vec::new(), body: Some(body.to_string()), algorithm: None }
    }
}

/// Lets the library sign all requests.
async fn sign(jobs: Vec<Job<'_>>) -> Vec<Signed> {
    let questions = jobs.iter().map(|job| {
        let mut question = json!({"token": TOKEN, "url": format!("{}{}", job.public, job.target)});
        match &job.body {
            Some(body) => question["body"] = json!(body),
            None => question["params"] = json!(job.params),
        }
        question["algorithm"] = json!(job.algorithm);
        question
    });
    let answers = python::ask("twilio/sign.py", &questions.collect()).await;
    let answers: Vec<(String, String)> = serde_json::from_value(answers).unwrap();
    let signed = jobs.into_iter().zip(answers).map(|(job, (url, signature))| Signed {
        target: url.strip_prefix(job.public).unwrap().to_owned(),
        params: job.params,
        body: job.body,
        signature,
        algorithm: job.algorithm,
    });
    signed.collect()
}

impl Signed {
    /// Sends the request to Postern, as a proxy in front of it does.
    async fn arrives(&self, ingress: &Program) -> Reply {
        let request = ingress.request(reqwest::Method::POST, &self.target);
        let mut request = request.header("X-Twilio-Signature", &self.signature);
        if let Some(algorithm) = self.algorithm {
            let settings = format!("key=webhooks_sharedkey_1,algorithm={algorithm}");
            request = request.header("X-Twilio-Webhooks-Signature-Settings", settings);
        }
        let request = match &self.body {
            Some(body) => request.header("Content-Type", "application/json").body(body.clone()),
            None => request.form(&self.params),
        };
        ingress.fetch(request).await
    }
}
