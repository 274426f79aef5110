//! A log line as one JSON object: `timestamp`, `level`, the event's own fields, `target`.
//!
//! The library's own formatter takes as long for one line as all our other work for accepting a message.

use jiff::Timestamp;
use std::fmt::{self, Debug, Write};
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

/// Formats events. Spans are left out: Postern makes none.
#[derive(Debug, Clone, Copy)]
pub struct JsonLines;

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let metadata = event.metadata();
        write!(writer, "{{\"timestamp\":\"{:.3}\"", Timestamp::now())?;
        let mut fields = LineFields { writer: &mut writer, result: Ok(()) };
        fields.text("level", metadata.level().as_str());
        event.record(&mut fields);
        fields.text("target", metadata.target());
        fields.result?;
        writer.write_str("}\n")
    }
}

struct LineFields<'a, 'w> {
    writer: &'a mut Writer<'w>,
    result: fmt::Result,
}

impl LineFields<'_, '_> {
    /// Writes `,"name":` and then what `write` writes.
    fn field(&mut self, name: &str, write: impl FnOnce(&mut Writer<'_>) -> fmt::Result) {
        if self.result.is_ok() {
            // `r#type` is the field `type`.
            let name = name.strip_prefix("r#").unwrap_or(name);
            self.result = self
                .writer
                .write_str(",\"")
                .and_then(|()| Escaped(self.writer).write_str(name))
                .and_then(|()| self.writer.write_str("\":"))
                .and_then(|()| write(self.writer));
        }
    }

    fn text(&mut self, name: &str, value: &str) {
        self.quoted(name, |mut escaped| escaped.write_str(value));
    }

    fn quoted(&mut self, name: &str, write: impl FnOnce(Escaped<'_, '_>) -> fmt::Result) {
        self.field(name, |writer| {
            writer.write_char('"')?;
            write(Escaped(writer))?;
            writer.write_char('"')
        });
    }
}

impl Visit for LineFields<'_, '_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.quoted(field.name(), |mut escaped| write!(escaped, "{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field.name(), value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.field(field.name(), |writer| write!(writer, "{value}"));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.field(field.name(), |writer| write!(writer, "{value}"));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.field(field.name(), |writer| write!(writer, "{value}"));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has no infinity and no NaN (RFC 8259, 6).
        self.field(field.name(), |writer| match value.is_finite() {
            true => write!(writer, "{value}"),
            false => writer.write_str("null"),
        });
    }
}

/// Escapes what is written through it, for a JSON string (RFC 8259, 7).
struct Escaped<'a, 'w>(&'a mut Writer<'w>);

impl Write for Escaped<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let is_special = |byte: u8| matches!(byte, b'"' | b'\\' | 0..=0x1f);
        // A loop without an early exit checks many bytes at a time.
        if !text.bytes().fold(false, |any, byte| any | is_special(byte)) {
            return self.0.write_str(text);
        }
        let mut plain = 0;
        for (at, byte) in text.bytes().enumerate().filter(|(_, byte)| is_special(*byte)) {
            self.0.write_str(&text[plain..at])?;
            plain = at + 1;
            match byte {
                b'"' | b'\\' => write!(self.0, "\\{}", char::from(byte))?,
                b'\n' => self.0.write_str("\\n")?,
                control => write!(self.0, "\\u{control:04x}")?,
            }
        }
        self.0.write_str(&text[plain..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use std::{
        io,
        sync::{Arc, Mutex},
    };
    use tracing_subscriber::{fmt::layer, layer::SubscriberExt, registry};

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(log: impl FnOnce()) -> Value {
        let lines = Lines::default();
        let written = lines.clone();
        let layer = layer().with_writer(move || lines.clone()).event_format(JsonLines);
        tracing::subscriber::with_default(registry().with(layer), log);
        let bytes = written.0.lock().unwrap().clone();
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.ends_with("}\n") && text.lines().count() == 1, "{text}");
        let mut line: Value = serde_json::from_str(&text).unwrap();
        let at = line.as_object_mut().unwrap().remove("timestamp").unwrap();
        assert!(
            at.as_str().unwrap().parse::<Timestamp>().is_ok() && at.as_str().unwrap().len() == 24,
            "{at}"
        );
        line
    }

    #[test]
    fn an_event_is_an_object_with_its_fields() {
        let none: Option<&str> = None;
        let line = logged(|| {
            tracing::warn!(
                target: "postern::test", count = 3_u64, under = -4, ratio = 0.5, whole = 2.0, nan = f64::NAN, yes = true,
                id = %"a-b", list = ?["x"], none, r#type = "t", "it {}", "works"
            );
        });
        let expected = json!({
            "level": "WARN", "target": "postern::test", "message": "it works", "count": 3, "under": -4,
            "ratio": 0.5, "whole": 2, "nan": null, "yes": true, "id": "a-b", "list": "[\"x\"]", "type": "t",
        });
        assert_eq!(line, expected);
    }

    #[test]
    fn no_text_breaks_out_of_its_line() {
        let text = "\"}\n{\"level\":\"\\ \u{0} \t \u{1f} é 😀 \u{7f} \u{2028}";
        let line = logged(|| tracing::info!(text, shown = %text, "{text}"));
        assert_eq!([&line["text"], &line["shown"], &line["message"]], [text; 3]);
    }
}
