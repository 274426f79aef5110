//! RapidSMS's tests of `rapidsms.backends.vumi`.

use super::{Row, Step, has, post, row};
use postern_tests::Answer;
use serde_json::{Value, json};

pub(super) const CONFIG: &str = r#"
[ingress]
# The rows repeat ids.
dedupe_window = 0
[retry]
delays = []
[backends.vumi-backend]
type = "vumi"
[backends.vumi-backend.settings]
sendsms_url = "PROVIDER/send"
[backends.vumi-auth]
type = "vumi"
[backends.vumi-auth.settings]
sendsms_url = "PROVIDER/send"
sendsms_user = "username"
sendsms_pass = "password"
"#;

const JSON: &str = "application/json";
const VALID: &str = r#"{"message_id": "56544", "to_addr": "127.0.0.1:8000", "from_addr": "1112223333",
    "transport_name": "transport", "transport_type": "sms", "content": "hi there", "in_reply_to": null,
    "session_event": null}"#;
const BLANK: &str = r#"{"message_id": "56545", "to_addr": "1", "from_addr": "1112223333",
    "transport_name": "transport", "transport_type": "ussd", "content": null, "session_event": "new"}"#;
const INVALID: &str = r#"{"invalid-phone": "1112223333", "message": "hi there"}"#;
const PATH: &str = "POST /backends/vumi-backend/";

/// A message, and what must be in its request.
fn sends(backend: &str, to: &[&str], context: &Value, wanted: &[&str], lacks: &[&'static str]) -> Step {
    Step::Sends {
        message: json!({"backend": backend, "to": to, "text": "hello!", "context": context}),
        answers: vec![Answer::json(200, &json!({"message_id": "v1"}))],
        asked: vec![has(wanted, lacks)],
        states: vec![vec!["sent"; to.len()]],
    }
}

pub(super) fn rows() -> Vec<Row> {
    let message = || {
        let fields = json!({
            "to_addr": "127.0.0.1:8000", "transport_name": "transport", "transport_type": "sms",
        });
        json!({"identity": "1112223333", "text": "hi there", "external_id": "56544", "fields": fields})
    };
    let failed = ["form failed to validate\n", "from_addr: This field is required."];
    let one = &["1112223333"];
    vec![
        row("vumi: valid_form", [post(PATH, (JSON, VALID), 200, &[]).stores(message())]),
        row("vumi: invalid_form", [post(PATH, (JSON, INVALID), 400, &failed)])
            .differs("the answer names the fields at fault, by Vumi's names of them"),
        row("vumi: get_incoming_data", [post(PATH, (JSON, VALID), 200, &[]).stores(message())]),
        row("vumi: valid_response_post", [post(PATH, (JSON, VALID), 200, &[]).stores(message())]),
        row("vumi: invalid_response", [post(PATH, (JSON, INVALID), 400, &failed[..1])]),
        row(
            "vumi: invalid_json",
            [
                post(PATH, (JSON, "{this is not JSON}"), 400, &failed[..1]),
                post(PATH, (JSON, "[]"), 400, &failed[..1]),
                post(PATH, (JSON, "\"x\""), 400, &failed[..1]),
            ],
        )
        .differs("JSON that is no object is refused with 400, too; RapidSMS answers 500"),
        row(
            "vumi: blank_message_is_valid",
            [post(PATH, (JSON, BLANK), 200, &[]).stores(json!({"identity": "1112223333", "text": ""}))],
        ),
        row(
            "vumi: required_fields",
            [Step::Checks {
                config: "[backends.vumi-backend]\ntype = \"vumi\"\n",
                code: 2,
                says: vec!["line 1: backends.vumi-backend.settings.sendsms_url: is missing"],
            }],
        )
        .differs(
            "`check` and every start say so, with the line; not an exception when the first message is sent",
        ),
        row(
            "vumi: outgoing_keys",
            [sends(
                "vumi-backend",
                one,
                &json!({}),
                &[
                    "POST /send\ncontent-type: application/json\n",
                    "{\"content\":\"hello!\",\"to_addr\":[\"1112223333\"],\"metadata\":{\"rapidsms_msg_id\":",
                ],
                &["session_event", "in_reply_to", "endpoint", "from_addr"],
            )],
        )
        .differs("session_event is left out where there is none, and not null"),
        row(
            "vumi: response_external_id",
            [sends(
                "vumi-backend",
                one,
                &json!({"external_id": "ASDF1234"}),
                &["\"in_reply_to\":\"ASDF1234\"", "\"to_addr\":[\"1112223333\"]"],
                &[],
            )],
        ),
        row(
            "vumi: bulk_response_external_id",
            [sends(
                "vumi-backend",
                &["1112223333", "9998887777"],
                &json!({"external_id": "ASDF1234"}),
                &["\"to_addr\":[\"1112223333\",\"9998887777\"]"],
                &["in_reply_to"],
            )],
        ),
        row(
            "vumi: message_id_in_metadata",
            [Step::Sends {
                message: json!({"id": "0199b2a5-0000-7000-8000-000000000007", "backend": "vumi-backend",
                                "identities": one, "text": "hello!"}),
                answers: vec![Answer::status(200)],
                asked: vec![has(
                    &["\"metadata\":{\"rapidsms_msg_id\":\"0199b2a5-0000-7000-8000-000000000007\"}"],
                    &[],
                )],
                states: vec![vec!["sent"]],
            }],
        ),
        row(
            "vumi: from_addr_and_endpoint_in_payload",
            [sends(
                "vumi-backend",
                one,
                &json!({"from_addr": "5551212", "endpoint": "foo"}),
                &["\"endpoint\":\"foo\"", "\"from_addr\":\"5551212\""],
                &[],
            )],
        ),
        row("vumi: send", [sends("vumi-backend", one, &json!({}), &["POST /send\n"], &["authorization"])]),
        row(
            "vumi: auth",
            // The header is the encoded `username:password`.
            [sends(
                "vumi-auth",
                one,
                &json!({}),
                &["POST /send\nauthorization: Basic dXNlcm5hbWU6cGFzc3dvcmQ=\n"],
                &[],
            )],
        ),
    ]
}
