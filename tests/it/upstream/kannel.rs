//! RapidSMS's tests of `rapidsms.backends.kannel`.

use super::{Row, Step, get, has, row};
use postern_tests::Answer;
use serde_json::json;

pub(super) const CONFIG: &str = r#"
[retry]
delays = []
[backends.kannel-backend]
type = "kannel"
[backends.kannel-backend.settings]
sendsms_url = "PROVIDER/cgi-bin/sendsms"
sendsms_params = { smsc = "usb0-modem", from = "+SIMphonenumber", username = "rapidsms", password = "CHANGE-ME" }
delivery_report_url = "http://localhost:8888"
"#;

const ID: &str = "0199b2a5-0000-7000-8000-000000000001";

fn sends(text: &str, wanted: &[&str]) -> Step {
    Step::Sends {
        message: json!({"backend": "kannel-backend", "to": "1112223333", "text": text}),
        answers: vec![Answer::status(202).body("0: Accepted for delivery")],
        asked: vec![has(wanted, &[])],
        states: vec![vec!["sent"]],
    }
}

pub(super) fn rows() -> Vec<Row> {
    let valid = "GET /backends/kannel-backend/?id=1112223333&text=hi+there&charset=UTF-8&coding=0";
    let invalid = "GET /backends/kannel-backend/?invalid-phone=1112223333&message=hi+there";
    let named = ["form failed to validate\n", "id: This field is required.", "text: This field is required."];
    let message = || json!({"identity": "1112223333", "text": "hi there"});
    vec![
        row("kannel: valid_form", [get(valid, 200, &[]).stores(message())]),
        row("kannel: invalid_form", [get(invalid, 400, &named)])
            .differs("the answer names the fields at fault; Kannel logs it, and nobody gets it as an SMS"),
        row(
            "kannel: get_incoming_data",
            [get("GET /backends/kannel-backend?id=1112223333&text=caf%E9&charset=ISO-8859-1", 200, &[])
                .stores(json!({"identity": "1112223333", "text": "café", "fields": {}}))],
        )
        .differs("charset and coding are used, where RapidSMS ignores them and stores garbage"),
        // Kannel would send any text in the answer back to the sender.
        row("kannel: valid_response_get", [get(valid, 200, &[]).stores(message())]),
        row("kannel: invalid_response", [get(invalid, 400, &named[..1])]),
        row(
            "kannel: valid_post_message",
            [get(valid, 200, &[]).stores(json!({"identity": "1112223333", "text": "hi there", "backend": "kannel-backend"}))],
        ),
        row(
            "kannel: outgoing_keys",
            [sends(
                "hello!",
                &[
                    "GET /cgi-bin/sendsms",
                    "?smsc=usb0-modem",
                    "?from=%2BSIMphonenumber",
                    "?username=rapidsms",
                    "?password=CHANGE-ME",
                    "?to=1112223333",
                    "?text=hello%21",
                    "?coding=0",
                    "?charset=UTF-8",
                ],
            )],
        )
        .differs("charset is UTF-8 and not ascii, which would drop é and 😀"),
        row(
            "kannel: outgoing_unicode_characters",
            [
                sends("Ol\u{e1}!", &["?text=%00O%00l%00%E1%00%21", "?coding=2", "?charset=UTF-16BE"]),
                sends("Ol\u{e0}!", &["?text=Ol%C3%A0%21", "?coding=0", "?charset=UTF-8"]),
            ],
        )
        .differs(
            "UTF-16BE, which is what coding 2 is on the air; and only where the text needs it: à is in the \
             GSM alphabet, á is not",
        ),
        row(
            "kannel: delivery_report_url",
            [sends(
                "test",
                &[
                    "\n?dlr-mask=31\n",
                    "\n?dlr-url=http%3A%2F%2Flocalhost%3A8888%2Fbackends%2Fkannel-backend%2Fstatus%3Fmessage_id%3D",
                    "%26status%3D%25d%26status_text%3D%25A%26smsc%3D%25i%26sms_id%3D%25I%26date_sent%3D%25t%26identity%3D%25p",
                ],
            )],
        )
        .differs("the path is this backend's own, so that two Kannels do not mix up their reports"),
        row(
            "kannel: delivery_report_valid",
            [get(
                "GET /backends/kannel-backend/status?message_id=0199b2a5-0000-7000-8000-000000000001&status=1\
                 &status_text=Success&smsc=usb0-modem&sms_id=1&date_sent=2013-01-01+00:00:00&identity=1112223333",
                200,
                &[],
            )
            .leads_to(
                "postern.reports",
                json!({"message_id": ID, "recipients": [{"identity": "1112223333", "state": "delivered"}]}),
            )],
        )
        .differs("it becomes a report that the message was delivered; in RapidSMS nothing ever does"),
        row(
            "kannel: delivery_report_invalid",
            [get(
                "GET /backends/kannel-backend/status?message_id=0199b2a5-0000-7000-8000-000000000001&status=3\
                 &status_text=Success&identity=1112223333",
                400,
                &["status: unknown state"],
            )],
        ),
    ]
}
