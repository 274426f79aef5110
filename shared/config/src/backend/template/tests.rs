//! What templates make, and what they cannot reach.

use super::*;
use minijinja::context;

fn scope() -> Value {
    context! {
        id => "7", identity => "+1 5", identities => ["+1 5", "2"], text => "a&b=c/{{ id }}",
        context => context! { n => 3 }, settings => context! { sid => "x/y" },
    }
}

#[test]
fn names_text_and_jinja_render_alike() {
    for (source, text) in [
        ("", ""),
        ("plain", "plain"),
        ("{{ identity }}", "+1 5"),
        ("to {{identity}}: {{ text }}!", "to +1 5: a&b=c/{{ id }}!"),
        ("{{ context.n }}{{ context.absent.deep }}", "3"),
        ("{{ identities | join(';') }}", "+1 5;2"),
        ("{% if context.n == 3 %}three{% endif %}", "three"),
        ("{{ identity | hex }}{{ context.absent | hex }}", "2b312035"),
        ("{{ identity | urlencode }}", "%2B1%205"),
    ] {
        assert_eq!(Template::parse(source).unwrap().render(&scope()).unwrap(), text, "{source}");
    }
}

#[test]
fn one_name_keeps_its_type_or_is_left_out() {
    let evaluate = |source| Template::parse(source).unwrap().evaluate(&scope()).unwrap();
    assert_eq!(evaluate("{{ context.n }}"), Some(Value::from(3)));
    assert_eq!(evaluate("{{ identities }}").and_then(|list| list.len()), Some(2));
    assert_eq!(evaluate("{{ context.absent }}"), None);
    assert_eq!(evaluate("x{{ context.absent }}"), Some(Value::from("x")));
    assert_eq!(evaluate("{{ 31 if context.n }}"), Some(Value::from(31)));
    assert_eq!(evaluate("{{ 31 if context.absent }}"), None);
    assert_eq!(evaluate("{{ context.absent or context.n }}"), Some(Value::from(3)));
    assert_eq!(evaluate("{{ '?a=' ~ id if context.n == 3 }}"), Some(Value::from("?a=7")));
}

#[test]
fn a_value_cannot_leave_its_place_in_a_url() {
    let url = UrlTemplate::parse("https://h/{{ settings.sid }}?q={{ text }}").unwrap();
    assert_eq!(url.render(&scope()).unwrap(), "https://h/x%2Fy?q=a%26b%3Dc%2F%7B%7B%20id%20%7D%7D");
    let url = UrlTemplate::parse("https://h/{{ text | upper }}").unwrap();
    assert_eq!(url.render(&scope()).unwrap(), "https://h/A%26B%3DC%2F%7B%7B%20ID%20%7D%7D");
    let url = UrlTemplate::parse("{{ settings.base }}/{{ settings.sid }}?q={{ text }}").unwrap();
    let settings = context! { base => "https://h/v1", sid => "x/y" };
    let rendered = url.render(&context! { settings, text => "a&b" }).unwrap();
    assert_eq!(rendered, "https://h/v1/x%2Fy?q=a%26b");
}

#[test]
fn a_message_cannot_choose_the_host() {
    for (wrong, named) in [
        ("ftp://h/", "http"),
        ("https://{{ context.host }}/", "host"),
        ("https://h{{ text }}/", "host"),
        ("{{ text }}/x", "host"),
        ("{{ settings.api_url ~ text }}/x", "host"),
        ("{{ settings.api_url or context.url }}/x", "host"),
        ("{{ settings[text] }}/x", "host"),
        ("{{ settings.api_url }}{{ text }}/x", "host"),
        ("{{ settings.api_url }}.{{ text }}", "host"),
        ("https://{{ settings.zone ~ context.zone }}.example.org/", "host"),
        ("https://", "host"),
        ("https://h:x/", "URL"),
    ] {
        let why = UrlTemplate::parse(wrong).unwrap_err();
        assert!(why.contains(named), "{wrong}: {why}");
    }
    assert!(UrlTemplate::parse("{{ settings.api_url }}/send").is_ok());
    assert!(UrlTemplate::parse("https://{{ settings.zone }}.example.org/send").is_ok());
    assert!(UrlTemplate::parse("{{ settings.api_url }}?to={{ text }}").is_ok());
    assert!(UrlTemplate::parse("{{ settings.api_url }}").is_ok());
}

#[test]
fn a_template_may_see_less() {
    let seeing = |source| UrlTemplate::seeing(source, &["backend"]);
    let url = seeing("https://h:1/{{ backend }}/?b={{ backend | upper }}#{{backend}}").unwrap();
    let rendered = url.render(&context! { backend => "../a@b?c&d" }).unwrap();
    let (small, large) = ("..%2Fa%40b%3Fc%26d", "..%2FA%40B%3FC%26D");
    assert_eq!(rendered, format!("https://h:1/{small}/?b={large}#{small}"));
    for (wrong, named) in [
        ("https://{{ backend }}/", "host"),
        ("https://h{{ backend }}", "host"),
        ("https://h{% if backend %}x{% endif %}/", "host"),
        ("https://{# / #}h/", "host"),
        ("https://h:{{ backend }}/", "host"),
        ("https://u:{{ backend }}@h/", "host"),
        ("{{ backend }}/", "host"),
        ("{{ settings.url }}/", "host"),
        ("https://h/{{ text }}", "unknown name text; a template can use backend"),
        ("https://h/{{ settings.a }}", "unknown name settings; a template can use backend"),
        ("https://h/{{ backend", "not a template"),
    ] {
        let why = seeing(wrong).unwrap_err();
        assert!(why.contains(named), "{wrong}: {why}");
    }
}

#[test]
fn a_wrong_template_says_so() {
    assert!(Template::parse("{{ text").unwrap_err().contains("not a template"));
    assert!(Template::parse("{{ message }}").unwrap_err().contains("unknown name message"));
}
