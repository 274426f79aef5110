//! Reads the `OTEL_*` variables of OpenTelemetry's specification that Postern reads itself. The
//! OpenTelemetry library reads what it needs of the others: `OTEL_EXPORTER_OTLP_*`, `OTEL_BSP_*`,
//! `OTEL_SPAN_*` and `OTEL_RESOURCE_ATTRIBUTES`.

use std::time::Duration;
use url::Url;

/// How long the exporter waits for an answer without `OTEL_EXPORTER_OTLP_TIMEOUT`.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The most spans that wait without `OTEL_BSP_MAX_QUEUE_SIZE`: the library's default.
const MAX_QUEUED: usize = 2_048;

/// What the variables ask for.
#[derive(Debug, PartialEq)]
pub(super) struct Environment {
    /// `None`: traces are off.
    pub(super) exporting: Option<Exporting>,
    /// What the variables ask for and Postern does not do, for the log.
    pub(super) remarks: Vec<String>,
}

/// Where spans go, and how.
#[derive(Debug, PartialEq)]
pub(super) struct Exporting {
    endpoint: Url,
    /// How long an export may take.
    pub(super) timeout: Duration,
    /// How many spans may wait.
    pub(super) max_queued: usize,
    pub(super) propagates: bool,
}

impl Exporting {
    /// The host that spans go to, for the log.
    pub(super) fn shown_endpoint(&self) -> String {
        self.endpoint.origin().ascii_serialization()
    }
}

/// The variable `name` of this process. An empty variable counts as unset, as the specification requires.
#[expect(clippy::disallowed_methods, reason = "OpenTelemetry's own variables, not keys of the configuration")]
pub(super) fn of_process(name: &str) -> Option<String> {
    std::env::var(name).ok().map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
}

impl Environment {
    /// Reads this process's variables.
    ///
    /// # Errors
    /// What is wrong, and what to set.
    pub(super) fn of_process() -> Result<Self, String> {
        Self::read(&of_process)
    }

    /// Reads what `variable` returns for each name.
    fn read(variable: &dyn Fn(&str) -> Option<String>) -> Result<Self, String> {
        let off = |remarks| Ok(Self { exporting: None, remarks });
        if variable("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return off(Vec::new());
        }
        let mut remarks = Vec::new();
        let exporters = variable("OTEL_TRACES_EXPORTER");
        let asked: Vec<_> = list(exporters.as_deref().unwrap_or("otlp")).collect();
        let others: Vec<_> = asked.iter().filter(|name| !matches!(**name, "otlp" | "none")).collect();
        if let Some(other) = others.first() {
            remarks.push(format!("OTEL_TRACES_EXPORTER: unknown exporter \"{other}\"; known: otlp and none"));
        }
        if !asked.contains(&"otlp") {
            return off(remarks);
        }
        let Some((name, endpoint)) = of_signal(variable, "ENDPOINT") else {
            if exporters.is_some() {
                remarks.push(
                    "OTEL_TRACES_EXPORTER is otlp, but no endpoint is set: set OTEL_EXPORTER_OTLP_ENDPOINT, \
                     such as http://collector:4318"
                        .to_owned(),
                );
            }
            return off(remarks);
        };
        let endpoint = endpoint_of(&name, &endpoint)?;
        protocol(variable, &endpoint)?;
        headers(variable)?;
        sampler(variable)?;
        let timeout = of_signal(variable, "TIMEOUT").map(|(name, text)| milliseconds(&name, &text));
        let max_queued = "OTEL_BSP_MAX_QUEUE_SIZE";
        let max_queued = variable(max_queued).map(|text| number(max_queued, &text)).transpose()?;
        let propagates = propagators(variable, &mut remarks);
        let exporting = Exporting {
            endpoint,
            timeout: timeout.transpose()?.unwrap_or(TIMEOUT),
            max_queued: max_queued.map_or(MAX_QUEUED, |size| usize::try_from(size).unwrap_or(usize::MAX)),
            propagates,
        };
        Ok(Self { exporting: Some(exporting), remarks })
    }
}

fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty())
}

/// The variable for traces that ends in `what`, else the variable for all signals, with its name.
fn of_signal(variable: &dyn Fn(&str) -> Option<String>, what: &str) -> Option<(String, String)> {
    let names = [format!("OTEL_EXPORTER_OTLP_TRACES_{what}"), format!("OTEL_EXPORTER_OTLP_{what}")];
    names.into_iter().find_map(|name| variable(&name).map(|value| (name, value)))
}

fn endpoint_of(name: &str, text: &str) -> Result<Url, String> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    url.ok_or_else(|| format!("{name}: must be a URL, such as http://collector:4318"))
}

/// Checks the protocol.
///
/// # Errors
/// The variables ask for a protocol that Postern does not have.
fn protocol(variable: &dyn Fn(&str) -> Option<String>, endpoint: &Url) -> Result<(), String> {
    match of_signal(variable, "PROTOCOL") {
        Some((name, asked)) if asked != "http/protobuf" => {
            let grpc = if asked == "grpc" || endpoint.port() == Some(4317) {
                ", and the endpoint to the collector's HTTP port (4318, not 4317)"
            } else {
                ""
            };
            Err(format!(
                "{name}: Postern exports traces only by http/protobuf, not by \"{asked}\": set it to \
                 http/protobuf{grpc}"
            ))
        }
        _ => Ok(()),
    }
}

/// Checks the form of the headers. Their values are secrets, which the error must not contain.
///
/// # Errors
/// The headers are not a list of `name=value`.
fn headers(variable: &dyn Fn(&str) -> Option<String>) -> Result<(), String> {
    let Some((name, text)) = of_signal(variable, "HEADERS") else { return Ok(()) };
    let is_header = |item: &str| item.split_once('=').is_some_and(|(name, _)| !name.trim().is_empty());
    if list(&text).all(is_header) {
        return Ok(());
    }
    Err(format!("{name}: must be name=value,name=value"))
}

/// Checks the sampler: instead of one that it does not know, the library would use another one.
///
/// # Errors
/// The sampler is not known, or its argument is not a ratio.
fn sampler(variable: &dyn Fn(&str) -> Option<String>) -> Result<(), String> {
    const KNOWN: [&str; 6] = [
        "always_on",
        "always_off",
        "traceidratio",
        "parentbased_always_on",
        "parentbased_always_off",
        "parentbased_traceidratio",
    ];
    let Some(asked) = variable("OTEL_TRACES_SAMPLER") else { return Ok(()) };
    if !KNOWN.contains(&&*asked) {
        let known = KNOWN.join(", ");
        return Err(format!("OTEL_TRACES_SAMPLER: unknown sampler \"{asked}\"; known: {known}"));
    }
    let ratio = || variable("OTEL_TRACES_SAMPLER_ARG")?.parse::<f64>().ok();
    if asked.ends_with("traceidratio") && !ratio().is_some_and(|ratio| (0.0..=1.0).contains(&ratio)) {
        return Err(format!(
            "OTEL_TRACES_SAMPLER_ARG: {asked} needs the fraction of traces to keep, from 0 to 1, such as 0.1"
        ));
    }
    Ok(())
}

/// Whether other programs' traces are continued and ours are passed on.
fn propagators(variable: &dyn Fn(&str) -> Option<String>, remarks: &mut Vec<String>) -> bool {
    let Some(asked) = variable("OTEL_PROPAGATORS") else { return true };
    // Baggage is what others wrote: Postern passes none on.
    for other in list(&asked).filter(|name| !matches!(*name, "tracecontext" | "baggage" | "none")) {
        remarks
            .push(format!("OTEL_PROPAGATORS: unknown propagator \"{other}\"; known: tracecontext and none"));
    }
    list(&asked).any(|name| name == "tracecontext")
}

fn milliseconds(name: &str, text: &str) -> Result<Duration, String> {
    number(name, text).map(Duration::from_millis)
}

fn number(name: &str, text: &str) -> Result<u64, String> {
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| format!("{name}: must be a whole number above 0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Environment, String> {
        Environment::read(&|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    const WHERE: (&str, &str) =
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://user:secret@collector:4318/x?token=1");

    #[test]
    fn traces_are_off_until_a_variable_says_where_they_go() {
        for (variables, remarked) in [
            (&[][..], None),
            (&[("OTEL_SERVICE_NAME", "x"), ("OTEL_PROPAGATORS", "none")][..], None),
            (&[WHERE, ("OTEL_SDK_DISABLED", "TRUE"), ("OTEL_TRACES_SAMPLER", "wrong")][..], None),
            (&[WHERE, ("OTEL_TRACES_EXPORTER", "none")][..], None),
            (&[WHERE, ("OTEL_TRACES_EXPORTER", "zipkin")][..], Some("known: otlp and none")),
            (&[("OTEL_TRACES_EXPORTER", "otlp")][..], Some("set OTEL_EXPORTER_OTLP_ENDPOINT")),
        ] {
            let Environment { exporting, remarks } = read(variables).unwrap();
            assert_eq!(exporting, None, "{variables:?}");
            assert_eq!(remarks.len(), usize::from(remarked.is_some()), "{remarks:?}");
            assert!(remarked.is_none_or(|said| remarks[0].contains(said)), "{remarks:?}");
        }
    }

    #[test]
    fn what_is_set_is_read_and_what_is_not_has_the_specifications_default() {
        let Environment { exporting, remarks } = read(&[WHERE]).unwrap();
        let exporting = exporting.unwrap();
        assert_eq!(exporting.shown_endpoint(), "https://collector:4318");
        assert_eq!((exporting.timeout, exporting.max_queued), (Duration::from_secs(10), 2_048));
        assert!(exporting.propagates && remarks.is_empty(), "{remarks:?}");
        let set = [
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://traces:4318/v1/traces"),
            WHERE,
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "2500"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=abc%3D,b=c="),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "100"),
            ("OTEL_TRACES_EXPORTER", "otlp,console"),
            ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
            ("OTEL_PROPAGATORS", "b3,baggage"),
        ];
        let Environment { exporting, remarks } = read(&set).unwrap();
        let exporting = exporting.unwrap();
        assert_eq!(exporting.shown_endpoint(), "http://traces:4318");
        assert_eq!((exporting.timeout, exporting.max_queued), (Duration::from_millis(2500), 100));
        assert!(!exporting.propagates);
        assert!(remarks[0].contains("\"console\"") && remarks[1].contains("\"b3\""), "{remarks:?}");
    }

    #[test]
    fn what_cannot_be_done_is_an_error_that_says_what_to_set_and_repeats_no_secret() {
        for (name, value, says) in [
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "secret:4318", "such as http://collector:4318"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "secret", "must be a URL"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "set it to http/protobuf, and the endpoint to"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json", "set it to http/protobuf"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=b,secret", "must be name=value"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s", "must be a whole number"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "0", "must be a whole number"),
            ("OTEL_TRACES_SAMPLER", "jaeger_remote", "known: always_on, always_off"),
            ("OTEL_TRACES_SAMPLER", "traceidratio", "from 0 to 1"),
        ] {
            let error = read(&[(name, value), WHERE]).unwrap_err();
            assert!(error.contains(says) && !error.contains("secret"), "{error}");
        }
    }
}
