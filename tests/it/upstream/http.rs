//! RapidSMS's tests of `rapidsms.backends.http`.

use super::{Row, get, post, row};
use serde_json::json;

pub(super) const CONFIG: &str = r#"
[backends.http-backend]
type = "http"
[backends.custom]
type = "http"
[backends.custom.receive]
params = { identity = "phone", text = "message" }
"#;

const FORM: &str = "application/x-www-form-urlencoded";
const FAILED: &str = "form failed to validate\n";
/// How the answers differ from RapidSMS's.
const NAMED: &str = "the answer also names each field at fault: its users asked why a request was refused";

pub(super) fn rows() -> Vec<Row> {
    let message = || json!({"identity": "1112223333", "text": "hi there", "fields": {}});
    let body = (FORM, "identity=1112223333&text=hi+there");
    let query = "GET /backends/http-backend/?identity=1112223333&text=hi+there";
    vec![
        row(
            "http: valid_default_post",
            [post("POST /backends/http-backend/", body, 200, &["OK"]).stores(message())],
        ),
        row("http: valid_form_get", [get(query, 200, &["OK"]).stores(message())]),
        row(
            "http: invalid_form_post",
            [post(
                "POST /backends/http-backend/",
                (FORM, "invalid-phone=1112223333&message=hi+there"),
                400,
                &[FAILED, "identity: This field is required.", "text: This field is required."],
            )],
        )
        .differs(NAMED),
        // Under any names in the request, they become identity and text.
        row(
            "http: get_incoming_data",
            [get("GET /backends/custom?phone=1112223333&message=hi+there", 200, &["OK"]).stores(message())],
        ),
        row("http: valid_response_get", [get(query, 200, &["OK"]).stores(message())]),
        row(
            "http: valid_response_post",
            [post("POST /backends/http-backend/", body, 200, &["OK"]).stores(message())],
        ),
        row(
            "http: custom_valid_response_post",
            [post("POST /backends/custom/", (FORM, "phone=1112223333&message=hi+there"), 200, &["OK"])
                .stores(message())],
        ),
        row(
            "http: invalid_response_get",
            [get("GET /backends/http-backend/?invalid-phone=1112223333&message=hi+there", 400, &[FAILED])],
        )
        .differs(NAMED),
        row(
            "http: invalid_response_post",
            [post("POST /backends/http-backend/", (FORM, "identity=1112223333"), 400, &[FAILED, "text: "])],
        )
        .differs(NAMED),
        row(
            "http: custom_invalid_response_post",
            [post(
                "POST /backends/custom/",
                (FORM, "identity=1112223333&text=hi+there"),
                400,
                &[FAILED, "phone: This field is required.", "message: This field is required."],
            )],
        )
        .differs(NAMED),
        row(
            "http: valid_post_message",
            [post("POST /backends/http-backend/", (FORM, "identity=555&text=another"), 200, &["OK"])
                .stores(json!({"identity": "555", "text": "another"}))],
        ),
        row(
            "http: valid_post_message_backend_name",
            [post("POST /backends/http-backend/", body, 200, &["OK"])
                .stores(json!({"backend": "http-backend"}))],
        ),
    ]
}
