//! Reading the answer of `/metrics`.

use std::collections::{BTreeMap, BTreeSet};

/// The answer of `/metrics` at one moment.
#[derive(Debug, Clone)]
pub struct Metrics {
    samples: Vec<(String, BTreeMap<String, String>, f64)>,
    names: BTreeSet<String>,
}

impl Metrics {
    /// Parses the Prometheus text format, version 0.0.4.
    ///
    /// # Panics
    /// If a line is not in that format.
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let samples = lines.map(|line| sample(line).unwrap_or_else(|| panic!("not a metric: {line}")));
        let names = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
        Self { samples: samples.collect(), names: names.map(str::to_owned).collect() }
    }

    /// The sum of the samples named `name` that carry all of `labels`; 0 if there are none.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let wanted = |has: &BTreeMap<String, String>| {
            labels.iter().all(|(key, value)| has.get(*key).is_some_and(|v| v == value))
        };
        self.samples.iter().filter(|(n, has, _)| n == name && wanted(has)).map(|(_, _, value)| value).sum()
    }

    /// The names of all metrics that begin with `prefix`, without the prefix; a histogram counts as one metric.
    pub fn names(&self, prefix: &str) -> BTreeSet<&str> {
        self.names.iter().filter_map(|name| name.strip_prefix(prefix)).collect()
    }

    /// Whether there is a sample named `name`, or `name_count` for a histogram.
    pub fn has(&self, name: &str) -> bool {
        let count = format!("{name}_count");
        self.samples.iter().any(|(n, ..)| n == name || *n == count)
    }

    /// Every label of every sample: its name and its value.
    pub fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        self.samples
            .iter()
            .flat_map(|(_, labels, _)| labels)
            .map(|(key, value)| (key.as_str(), value.as_str()))
    }
}

/// Parses `name{key="value",…} number`.
fn sample(line: &str) -> Option<(String, BTreeMap<String, String>, f64)> {
    let (head, number) = line.rsplit_once(' ')?;
    let number = number.parse().ok()?;
    let Some((name, labels)) = head.split_once('{') else {
        return Some((head.to_owned(), BTreeMap::new(), number));
    };
    let mut rest = labels.strip_suffix('}')?;
    let mut read = BTreeMap::new();
    while !rest.is_empty() {
        let (key, quoted) = rest.split_once("=\"")?;
        let end = end_of_quote(quoted)?;
        let value = quoted[..end].replace("\\\"", "\"").replace("\\n", "\n").replace("\\\\", "\\");
        read.insert(key.to_owned(), value);
        rest = quoted[end + 1..].trim_start_matches(',');
    }
    Some((name.to_owned(), read, number))
}

fn end_of_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|byte| {
        let end = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        end
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_found_by_name_and_labels() {
        let text =
            "# HELP a b\n# TYPE a counter\na{x=\"1\",y=\"q\\\"}, z\"} 2\na{x=\"2\"} 3\nb 0.5\nh_count 7\n";
        let metrics = Metrics::parse(text);
        assert_eq!(metrics.value("a", &[]), 5.0);
        assert_eq!(metrics.value("a", &[("x", "1")]), 2.0);
        assert_eq!(metrics.value("a", &[("y", "q\"}, z")]), 2.0);
        assert_eq!((metrics.value("b", &[]), metrics.value("c", &[])), (0.5, 0.0));
        assert!(metrics.has("h") && metrics.has("b") && !metrics.has("c"));
        assert_eq!(metrics.names(""), ["a"].into());
    }
}
