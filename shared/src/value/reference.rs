//! Texts that were meant to refer to an environment variable, a file or a credential, and would be used
//! literally.

use super::secret_source::credential_in;

/// Why `text` is probably not the secret itself, but meant as a reference to one: `$TOKEN`, `${TOKEN}`,
/// `%TOKEN%` and the like. `None` if it does not look like one.
pub(super) fn problem(text: &str) -> Option<String> {
    let text = text.trim();
    if let Some(path) = text.strip_prefix("file:").filter(|path| path.contains('/')) {
        return Some(format!("is used literally, and no file is read: write {{ file = \"{path}\" }}"));
    }
    if let Some(name) = credential_in(text) {
        return Some(format!(
            "is used literally, and no credential is read: write {{ credential = \"{name}\" }}"
        ));
    }
    let otherwise = "if the secret really looks like this, put it into a file: { file = \"PATH\" }";
    if is_whole(text) {
        return Some(format!(
            "is used literally, and no environment variable is read: write {{ env = \"NAME\" }}; {otherwise}"
        ));
    }
    within(text).then(|| {
        format!(
            "contains ${{…}}, which is used literally: put the whole value into an environment variable and \
             write {{ env = \"NAME\" }}; {otherwise}"
        )
    })
}

/// Whether all of `text` probably stands for an environment variable. Its name is not printed: `text` could be
/// the secret itself.
fn is_whole(text: &str) -> bool {
    let between = |start: &str, end: &str| text.strip_prefix(start)?.strip_suffix(end).map(str::trim);
    let bare = [
        ("${{", "}}"),
        ("${", "}"),
        ("$(", ")"),
        ("%", "%"),
        ("{{", "}}"),
        ("$env:", ""),
        ("env:", ""),
        ("env(", ")"),
    ];
    let is_bare = text.strip_prefix('$').is_some_and(is_name);
    is_bare
        || bare.into_iter().filter_map(|(start, end)| between(start, end)).any(|inner| {
            let name =
                ["env.", "env:", "ENV."].into_iter().find_map(|it| inner.strip_prefix(it)).unwrap_or(inner);
            // ${NAME:-default} and similar forms.
            is_name(name.split_once(':').map_or(name, |(name, _)| name))
        })
}

/// Whether `text`, which is not a secret, refers to an environment variable as in a shell: `${NAME}`
/// anywhere, `$NAME` in capitals at the beginning of a word, or nothing but `$name`.
pub fn has_variable(text: &str) -> bool {
    let mut parts = text.split('$');
    let mut before = parts.next().unwrap_or_default();
    let dollar = |part: &str| {
        let name = part.split(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')).next();
        let name = name.unwrap_or_default();
        let ends = !part[name.len()..].starts_with(|c: char| c.is_alphanumeric());
        name.len() > 1 && is_name(name) && ends
    };
    let whole = text.strip_prefix('$').is_some_and(|name| name.len() > 1 && is_name(name));
    whole
        || within(text)
        || parts.any(|part| {
            let begins = !before.ends_with(|c: char| c.is_alphanumeric() || c == '\\');
            before = part;
            begins && dollar(part)
        })
}

/// Whether `text` contains `${NAME}`.
fn within(text: &str) -> bool {
    text.split("${").skip(1).any(|rest| rest.split_once('}').is_some_and(|(name, _)| is_name(name)))
}

fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_is_told_from_a_text_with_a_dollar() {
        for text in ["$TOKEN", "Bearer $TOKEN", "Bearer ${token}", "https://h/?key=$API_KEY&to=1", "$token"] {
            assert!(has_variable(text), "{text}");
        }
        for text in [
            "",
            "$",
            "$5",
            "$x",
            "US$",
            "$A",
            "a$BC",
            "$$",
            "a $USd",
            "costs $ 5",
            "{{ text }}",
            "${",
            "%TOKEN%",
        ] {
            assert!(!has_variable(text), "{text}");
        }
    }

    #[test]
    fn a_reference_is_told_from_a_secret() {
        for (text, says) in [
            ("$TOKEN", "{ env = \"NAME\" }"),
            ("${TOKEN}", "{ env = \"NAME\" }"),
            ("${token_2:-none}", "{ env = \"NAME\" }"),
            ("$(TOKEN)", "{ env = \"NAME\" }"),
            ("%TOKEN%", "{ env = \"NAME\" }"),
            ("$env:TOKEN", "{ env = \"NAME\" }"),
            ("env:TOKEN", "{ env = \"NAME\" }"),
            ("{{ env.TOKEN }}", "{ env = \"NAME\" }"),
            ("${{ TOKEN }}", "{ env = \"NAME\" }"),
            ("$ecret", "{ env = \"NAME\" }"),
            ("amqp://postern:${PASSWORD}@host/", "{ env = \"NAME\" }"),
            ("file:/run/secrets/token", "{ file = \"/run/secrets/token\" }"),
            ("${CREDENTIALS_DIRECTORY}/token", "{ credential = \"token\" }"),
            ("%d/token", "{ credential = \"token\" }"),
        ] {
            let why = problem(text).unwrap_or_default();
            assert!(
                why.contains(says) && !why.contains("TOKEN") && !why.contains("ecret\""),
                "{text}: {why}"
            );
        }
        for secret in [
            "",
            "hush",
            "$",
            "$2y$10$abc",
            "50%",
            "a%b%",
            "p$word",
            "{{ settings.token }}",
            "$9",
            "${",
            "x:y",
        ] {
            assert_eq!(problem(secret), None, "{secret}");
        }
    }
}
