//! docker-compose.yml and what it refers to. No engine runs here: this is what can be seen in the
//! files.

use postern_tests::Rabbit;
use saphyr::{LoadableYamlNode as _, Yaml};
use std::{collections::BTreeSet, path::Path};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// `service.key`, also where a `<<` brings it.
fn get<'a>(service: &'a Yaml<'a>, key: &str) -> Option<&'a Yaml<'a>> {
    service.as_mapping_get(key).or_else(|| service.as_mapping_get("<<")?.as_mapping_get(key))
}

fn texts<'a>(list: Option<&'a Yaml<'a>>) -> Vec<&'a str> {
    list.and_then(Yaml::as_vec).into_iter().flatten().filter_map(Yaml::as_str).collect()
}

#[test]
fn every_service_is_watched_restarted_limited_and_given_time_to_drain() {
    let text = read("docker-compose.yml");
    let documents = Yaml::load_from_str(&text).unwrap();
    let services = documents[0].as_mapping_get("services").unwrap().as_mapping().unwrap();
    let names: Vec<_> = services.keys().map(|name| name.as_str().unwrap()).collect();
    for needed in ["rabbitmq", "ingress", "dispatcher"] {
        assert!(names.contains(&needed), "{needed} is missing");
    }
    for (name, service) in services {
        let name = name.as_str().unwrap();
        for key in ["healthcheck", "restart", "image", "mem_limit", "pids_limit", "ulimits"] {
            assert!(get(service, key).is_some(), "{name} has no {key}");
        }
        let grace = get(service, "stop_grace_period").and_then(Yaml::as_str).unwrap_or("10s");
        if ["ingress", "dispatcher"].contains(&name) {
            let seconds: u32 = grace.trim_end_matches('s').parse().unwrap();
            assert!(seconds > 25, "{name} is killed while it drains: a drain may last 25 seconds");
        }
        for volume in texts(get(service, "volumes")) {
            let source = volume.split(':').next().unwrap();
            assert!(!source.starts_with('.') || root().join(source).is_file(), "{source} is not there");
        }
        for port in texts(get(service, "ports")) {
            assert!(port.starts_with("127.0.0.1:"), "{name} opens {port} to everyone");
        }
    }
    let dispatcher = &documents[0]["services"]["dispatcher"];
    assert!(
        get(dispatcher, "ports").is_none() && get(dispatcher, "container_name").is_none(),
        "it must scale"
    );
}

#[test]
fn images_variables_and_configuration_are_those_that_exist() {
    let compose = read("docker-compose.yml");
    let dockerfile = read("deploy/docker/Dockerfile");
    let targets: BTreeSet<_> =
        dockerfile.lines().filter_map(|line| line.split_once(" AS ")).map(|(_, t)| t).collect();
    for (_, target) in compose.lines().filter_map(|line| line.split_once("target: ")) {
        let target = target.trim_end_matches(" }");
        assert!(targets.contains(target), "the Dockerfile has no target {target}");
    }
    let example = read("deploy/docker/env.example");
    for (_, rest) in compose.match_indices("${").map(|(at, _)| compose.split_at(at + 2)) {
        let (name, _) = rest.split_once(":?").expect("a secret without a default must stop the start");
        assert!(example.contains(&format!("\n{name}=\n")), "env.example does not name {name}");
    }
    let config: toml::Table = toml::from_str(&read("deploy/docker/postern.toml")).unwrap();
    assert_eq!(config["ingress"]["listen"].as_str(), Some("0.0.0.0:8080"));
    assert_eq!(config["admin"]["listen"].as_str(), Some("0.0.0.0:8081"), "the health check asks there");
    assert!(config["broker"]["max_messages"].as_integer().is_some(), "anyone could fill the broker's disk");
    let variables = [config["admin"]["token"].get("env"), config["api"]["keys"][0]["key"].get("env")];
    for name in variables.map(|name| name.and_then(toml::Value::as_str).expect("a secret of the environment"))
    {
        assert!(compose.contains(&format!("\n    {name}: \"${{{name}:?")), "{name} is not passed on");
    }
}

/// The broker of the file moves a retry again as soon as the nodes that the tests run, and these take
/// the setting from the same variable.
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
