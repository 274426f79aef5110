//! docker-compose.yml and the files that it refers to. No container engine runs here: the tests only read the
//! files.

use postern_tests::Rabbit;
use saphyr::{LoadableYamlNode as _, Yaml};
use std::{collections::BTreeMap, path::Path};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// `service.key`, even if a merge key `<<` brings it.
fn get<'a>(service: &'a Yaml<'a>, key: &str) -> Option<&'a Yaml<'a>> {
    service.as_mapping_get(key).or_else(|| get(service.as_mapping_get("<<")?, key))
}

fn texts<'a>(list: Option<&'a Yaml<'a>>) -> Vec<&'a str> {
    list.and_then(Yaml::as_vec).into_iter().flatten().filter_map(Yaml::as_str).collect()
}

/// Passes each service of the file, with its name, to `look`.
fn services(look: impl Fn(&str, &Yaml<'_>)) {
    let text = read("docker-compose.yml");
    let documents = Yaml::load_from_str(&text).unwrap();
    let services = documents[0].as_mapping_get("services").unwrap().as_mapping().unwrap();
    assert!(services.len() > 8, "{}", services.len());
    for (name, service) in services {
        look(name.as_str().unwrap(), service);
    }
}

/// The values of `${NAME:-value}` in `text`, by name.
fn defaults(text: &str) -> BTreeMap<&str, &str> {
    let after = text.match_indices("${").map(|(at, _)| text[at + 2..].split_once('}').unwrap().0);
    after.map(|variable| variable.split_once(":-").expect("a variable has a default")).collect()
}

#[test]
fn every_service_is_watched_restarted_limited_and_without_rights() {
    services(|name, service| {
        for key in [
            "healthcheck",
            "restart",
            "image",
            "mem_limit",
            "cpus",
            "pids_limit",
            "ulimits",
            "cap_drop",
            "logging",
        ] {
            assert!(get(service, key).is_some(), "{name} has no {key}");
        }
        for key in ["privileged", "network_mode", "pid", "ipc", "devices", "container_name"] {
            assert!(get(service, key).is_none(), "{name} has {key}");
        }
        assert_eq!(texts(get(service, "cap_drop")), ["ALL"], "{name}");
        assert_eq!(texts(get(service, "security_opt")), ["no-new-privileges:true"], "{name}");
        for volume in texts(get(service, "volumes")) {
            let source = volume.split(':').next().unwrap();
            assert!(!source.starts_with('.') || root().join(source).exists(), "{source} is not there");
            assert!(!source.starts_with('.') || volume.ends_with(":ro"), "{name} may write {source}");
        }
        for port in texts(get(service, "ports")) {
            assert!(port.starts_with("127.0.0.1:"), "{name} opens {port} to everyone");
        }
    });
}

#[test]
fn postern_is_given_time_to_drain_asks_itself_and_scales() {
    services(|name, service| {
        if !["ingress", "dispatcher", "dispatcher-busy"].contains(&name) {
            return;
        }
        let grace = get(service, "stop_grace_period").and_then(Yaml::as_str).unwrap_or("10s");
        let seconds: u32 = grace.trim_end_matches('s').parse().unwrap();
        assert!(seconds > 25, "{name} is killed while it drains: a drain may last 25 seconds");
        let health = get(get(service, "healthcheck").unwrap(), "test");
        assert_eq!(texts(health), ["CMD", "postern", "health"], "{name}");
        assert!(name == "ingress" || get(service, "ports").is_none(), "{name} must scale");
    });
}

/// A tag that moves is another program a year later: RabbitMQ 4.3 does not start with the data of 4.1.
#[test]
fn no_image_has_a_tag_that_moves() {
    let pinned = |image: &str| {
        let tag = image.rsplit('/').next().unwrap_or_default().split_once(':').map(|(_, tag)| tag);
        let version = tag.unwrap_or_default().trim_start_matches('v').split('-').next().unwrap_or_default();
        let numbers: Vec<_> = version.split('.').map(str::parse::<u32>).collect();
        numbers.len() >= 2 && numbers.iter().all(Result::is_ok)
    };
    services(|name, service| {
        let image = get(service, "image").and_then(Yaml::as_str).unwrap();
        let image = defaults(image).values().next().copied().unwrap_or(image);
        assert!(pinned(image), "{name}: {image}");
    });
    let dockerfile = read("deploy/docker/Dockerfile");
    assert!(!dockerfile.contains("syntax="), "a front end of its own costs each build a pull");
    let bases = dockerfile.lines().filter_map(|line| line.strip_prefix("FROM "));
    for base in bases.map(|base| base.split(' ').next().unwrap()).filter(|base| *base != "scratch") {
        assert!(pinned(base), "{base}");
    }
    for moves in ["rabbitmq", "rabbitmq:4", "rabbitmq:latest", "prom/prometheus:main", "rust:bookworm"] {
        assert!(!pinned(moves), "{moves}");
    }
}

#[test]
fn variables_secrets_and_configuration_are_those_that_exist() {
    let compose = read("docker-compose.yml");
    let example = read("deploy/docker/env.example");
    let named: BTreeMap<_, _> = example
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once('='))
        .collect();
    assert_eq!(defaults(&compose), named, "env.example has each variable with its default");

    let documents = Yaml::load_from_str(&compose).unwrap();
    let make = read("deploy/docker/secrets/make");
    let secrets = documents[0].as_mapping_get("secrets").unwrap().as_mapping().unwrap();
    for secret in secrets.values() {
        let file = secret.as_mapping_get("file").and_then(Yaml::as_str).unwrap();
        let name = file.strip_prefix("deploy/docker/secrets/").unwrap();
        assert!(make.contains(&format!("\nput {name} ")), "deploy/docker/secrets/make does not make {name}");
    }

    let config: toml::Table = toml::from_str(&read("deploy/docker/postern.toml")).unwrap();
    assert_eq!(config["ingress"]["listen"].as_str(), Some("0.0.0.0:8080"));
    assert_eq!(config["admin"]["listen"].as_str(), Some("0.0.0.0:8081"), "Prometheus asks there");
    assert!(config["broker"]["max_messages"].as_integer().is_some(), "anyone could fill the broker's disk");
    let files = [
        &config["broker"]["url"],
        &config["log"]["url"],
        &config["admin"]["token"],
        &config["api"]["keys"][0]["key"],
    ];
    for file in files.map(|secret| secret["file"].as_str().unwrap()) {
        let name = file.strip_prefix("/run/secrets/").unwrap();
        assert!(secrets.keys().any(|secret| secret.as_str() == Some(name)), "{name} is not mounted");
    }
}

#[test]
fn secrets_are_made_once_and_fit_together() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(root().join("deploy/docker/secrets/make"), folder.path().join("make")).unwrap();
    let make = || {
        let ended = std::process::Command::new("sh").arg(folder.path().join("make")).status().unwrap();
        assert!(ended.success());
        let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
        let names = [
            "rabbitmq_password",
            "postern_broker_url",
            "rabbitmq.conf",
            "postern_api_key",
            "postern_log_url",
        ];
        names.map(read)
    };
    let made = make();
    let [password, url, conf, key, _] = &made;
    assert!(password.len() == 64 && key.len() == 64 && password != key, "{made:?}");
    assert_eq!(*url, format!("amqp://postern:{password}@rabbitmq:5672/%2f"));
    assert!(conf.contains(&format!("default_pass = {password}\n")), "{conf}");
    assert_eq!(make(), made, "a second time changes nothing");
}

/// The compose file's broker moves a retry again after the same time as the nodes of the tests, which take the
/// setting from the same variable.
#[test]
fn its_broker_is_set_like_those_that_are_tried() {
    let text = read("docker-compose.yml");
    let documents = Yaml::load_from_str(&text).unwrap();
    let environment = &documents[0]["services"]["rabbitmq"]["environment"];
    let arguments = environment["RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS"].as_str().unwrap();
    let name = "dead_letter_worker_publisher_confirm_timeout";
    let milliseconds = arguments.strip_prefix(&format!("-rabbit {name} ")).unwrap();
    let set = Rabbit::shared().eval(&format!("application:get_env(rabbit, {name})"));
    assert_eq!(set, format!("{{ok,{milliseconds}}}"));
}
