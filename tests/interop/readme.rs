//! README.md names the versions that these tests use.

use std::{path::Path, process::Command};

/// The libraries of the vendors, which sign and send.
const VENDORS: [&str; 5] = ["slack_sdk", "line-bot-sdk", "telnyx", "plivo", "messagebird"];

#[test]
fn the_readme_names_the_versions_that_were_tried() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = std::fs::read_to_string(here.join("../README.md")).unwrap();
    let packages = std::fs::read_to_string(here.join("interop/requirements.txt")).unwrap();
    let version = |package: &str| {
        let mut lines = packages.lines().filter_map(|line| line.split_once("=="));
        lines.find(|(name, _)| *name == package).unwrap_or_else(|| panic!("{package} is not pinned")).1
    };
    let jasmin = std::fs::read_to_string(here.join("interop/jasmin/requirements.txt")).unwrap();
    let jasmin = jasmin.lines().find_map(|line| line.strip_prefix("jasmin==")).unwrap();
    let kannel = Command::new("/usr/sbin/bearerbox").arg("--version").output().unwrap().stdout;
    let kannel = String::from_utf8(kannel).unwrap();
    let kannel = kannel.split(['`', '\'']).nth(1).unwrap_or_else(|| panic!("{kannel}"));
    for row in [
        format!("fakesmsc | {kannel} (Debian 12) |"),
        format!("| RapidSMS | {} on Django {} |", version("rapidsms"), version("Django")),
        format!("library | {} |", version("twilio")),
        format!(
            "| python-telegram-bot; Infobip's Python client | {}; {} |",
            version("python-telegram-bot"),
            version("infobip-api-python-client"),
        ),
        format!("| pywa (WhatsApp) | {} |", version("pywa")),
        format!("SMSGate for Android's Python client | {} |", version("android-sms-gateway")),
        format!("| Jasmin | {jasmin} |"),
        format!(
            "| {}; vonage-jwt | {}; {} |",
            VENDORS.join(", "),
            VENDORS.map(version).join(", "),
            version("vonage-jwt"),
        ),
    ] {
        assert!(readme.contains(&row), "README.md, \"Tried with\": no {row:?}");
    }
}
