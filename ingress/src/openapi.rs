//! `GET /openapi.json`: the public routes, as the file `openapi.json` describes them, without what this
//! process's configuration rules out.

use bytes::Bytes;
use postern_config::{
    Config,
    backend::{auth::ReceiveAuth, http::Method, receive::Receive},
};
use serde_json::{Map, Value};

const DOCUMENT: &str = include_str!("openapi.json");

/// The document for `config`. It names no backend: anyone may read it.
pub(crate) fn render(config: &Config) -> Bytes {
    let mut document: Value = serde_json::from_str(DOCUMENT).unwrap_or_default();
    document["info"]["version"] = env!("CARGO_PKG_VERSION").into();
    if let Some(url) = &config.ingress.public_url {
        document["servers"] = serde_json::json!([{ "url": url }]);
    }
    let puts = config.backends.values().any(|b| b.definition.receive.methods.contains(&Method::Put));
    if !puts && let Some(path) = document["paths"]["/backends/{name}"].as_object_mut() {
        path.shift_remove("put");
    }
    let receives = || config.backends.values().map(|backend| &backend.definition.receive);
    if !receives().any(|receive| matches!(receive.auth, ReceiveAuth::Basic { .. })) {
        rule_out(&mut document, "/backends/", "401");
    }
    let open = |receive: &Receive| {
        matches!(receive.auth, ReceiveAuth::None | ReceiveAuth::Basic { .. }) && receive.allow.is_empty()
    };
    if receives().all(open) {
        rule_out(&mut document, "/backends/", "403");
    }
    if config.ingress.rate_limit.is_none() {
        rule_out(&mut document, "/backends/", "429");
        rule_out(&mut document, "/openapi.json", "429");
        if config.api.keys.iter().all(|key| key.rate.is_none()) {
            rule_out(&mut document, "/v1/", "429");
        }
    }
    if config.api.keys.is_empty() {
        without_keys(&mut document);
    } else {
        rule_out(&mut document, "/v1/backends", "403");
    }
    Bytes::from(document.to_string())
}

/// Removes the authentication. Without API keys, only clients on other machines are refused.
fn without_keys(document: &mut Value) {
    if let Some(components) = document["components"].as_object_mut() {
        components.shift_remove("securitySchemes");
    }
    for operation in operations(document, "/v1/") {
        operation.shift_remove("security");
    }
    rule_out(document, "/v1/", "401");
    let not_local = document["paths"]["/v1/backends"]["get"]["responses"]["403"].clone();
    for operation in operations(document, "/v1/messages") {
        operation["responses"]["403"] = not_local.clone();
    }
}

/// Removes the answer `status`, which no path below `prefix` gives.
fn rule_out(document: &mut Value, prefix: &str, status: &str) {
    for operation in operations(document, prefix) {
        if let Some(responses) = operation.get_mut("responses").and_then(Value::as_object_mut) {
            responses.shift_remove(status);
        }
    }
}

fn operations<'d>(
    document: &'d mut Value,
    prefix: &'d str,
) -> impl Iterator<Item = &'d mut Map<String, Value>> {
    let paths = document["paths"].as_object_mut().into_iter().flatten();
    let paths = paths.filter(move |(path, _)| path.starts_with(prefix));
    let methods = paths.filter_map(|(_, item)| item.as_object_mut()).flatten();
    methods.filter_map(|(_, operation)| operation.as_object_mut())
}

#[cfg(test)]
mod tests {
    use super::*;
    use postern_config::ProviderRegistry;

    fn rendered(text: &str) -> Value {
        let config = Config::parse("test", Some(text), [], &ProviderRegistry::builtin()).unwrap();
        serde_json::from_slice(&render(&config)).unwrap()
    }

    #[test]
    fn it_says_what_this_configuration_does() {
        let open = rendered("[backends.a]\ntype = \"http\"");
        assert_eq!(open["openapi"], "3.1.0");
        assert_eq!(open["info"]["version"], env!("CARGO_PKG_VERSION"));
        assert!(open["paths"]["/backends/{name}"].get("put").is_none());
        assert!(open["paths"]["/v1/messages"]["post"]["responses"].get("401").is_none());
        let refused = |document: &Value, path: &str| document.pointer(path).is_some();
        assert!(refused(&open, "/paths/~1v1~1backends/get/responses/403"), "who is not on this machine");
        assert!(!open.to_string().contains("bearer"));
        let keyed = rendered(
            "[[api.keys]]\nname = \"a\"\nkey = \"hush\"\nbackends = [\"*\"]\n[backends.secret-name]\ntype = \"http\"\n\
             receive = { methods = [\"PUT\"] }",
        );
        assert!(keyed["paths"]["/backends/{name}"].get("put").is_some());
        assert!(refused(&keyed, "/paths/~1v1~1messages/post/responses/403"));
        assert!(!refused(&keyed, "/paths/~1v1~1backends/get/responses/403"));
        assert!(!keyed.to_string().contains("hush") && !keyed.to_string().contains("secret-name"));
    }

    #[test]
    fn refusals_are_those_of_the_configuration() {
        let statuses = |config: &str, path: &str| -> Vec<String> {
            let refusals = ["401", "403", "429"];
            let document = rendered(config);
            let responses = document["paths"][path]["post"]["responses"].as_object().unwrap();
            responses.keys().filter(|status| refusals.contains(&status.as_str())).cloned().collect()
        };
        let backend = |receive: &str| format!("[backends.a]\ntype = \"http\"\nreceive = {{ {receive} }}\n");
        let key = "[[api.keys]]\nname = \"a\"\nkey = \"hush\"\nbackends = [\"*\"]\nrate = \"1/s\"\n";
        let limit = "ingress.rate_limit = { per_address = \"1/s\" }\n";
        let basic = "auth = { basic = { username = \"u\", password = \"p\" } }";
        for (config, providers, applications) in [
            (backend(""), &[][..], &["403"][..]),
            (backend(basic), &["401"], &["403"]),
            (backend("allow = [\"192.0.2.1\"]"), &["403"], &["403"]),
            (backend("auth = { token = { path = true, secret = \"t\" } }"), &["403"], &["403"]),
            (limit.to_owned() + &backend(""), &["429"], &["403", "429"]),
            (key.to_owned() + &backend(""), &[], &["401", "403", "429"]),
        ] {
            assert_eq!(statuses(&config, "/backends/{name}"), providers, "{config}");
            assert_eq!(statuses(&config, "/backends/{name}/status"), providers, "{config}");
            assert_eq!(statuses(&config, "/v1/messages"), applications, "{config}");
            let document = rendered(&config);
            for path in ["/v1/messages", "/v1/messages/{id}"] {
                let responses = document["paths"][path]["get"]["responses"].as_object().unwrap();
                let refusals =
                    responses.keys().filter(|status| ["401", "403", "429"].contains(&status.as_str()));
                assert_eq!(refusals.collect::<Vec<_>>(), applications, "{path}: {config}");
            }
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        fn follow(at: &Value, document: &Value) -> usize {
            match at {
                Value::Object(map) => {
                    let here = map.get("$ref").and_then(Value::as_str).map_or(0, |reference| {
                        let pointer = reference.trim_start_matches('#');
                        assert!(document.pointer(pointer).is_some(), "{reference}");
                        1
                    });
                    here + map.values().map(|value| follow(value, document)).sum::<usize>()
                }
                Value::Array(items) => items.iter().map(|value| follow(value, document)).sum(),
                _ => 0,
            }
        }
        let document: Value = serde_json::from_str(DOCUMENT).unwrap();
        assert!(follow(&document, &document) > 10);
    }
}
