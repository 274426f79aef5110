//! One person is one identity, no matter how the number is written: a backend's `region`.

use crate::reports::{outcome, states};
use postern_tests::{Answer, Pair, Provider};
use serde_json::json;

#[tokio::test]
async fn a_number_is_e164_in_both_directions_and_what_is_none_stays() {
    let provider = Provider::start().await;
    provider.otherwise(|_| Answer::ok("P1"));
    let config = format!(
        "[backends.x]\ntype = \"http\"\nregion = \"KE\"\n\
         [backends.x.status]\nparams = {{ external_id = \"id\" }}\nstates = {{ ok = \"delivered\" }}\n\
         [backends.x.send]\nurl = \"{}\"\nform = {{ to = \"{{{{ identity }}}}\", text = \"{{{{ text }}}}\" }}\n",
        provider.url("/send")
    );
    let pair = Pair::start(&config).await;
    for (written, identity) in
        [("0712 345678", "+254712345678"), ("\u{202a}254712345678", "+254712345678"), ("22384", "22384")]
    {
        let form = [("identity", written), ("text", "hi there")];
        assert_eq!(pair.ingress.post_form("/backends/x", &form).await.status, 200);
        assert_eq!(pair.tap.take("postern.inbound").await.json()["identity"], identity);
        let report = [("id", "P1"), ("identity", written), ("state", "ok")];
        assert_eq!(pair.ingress.post_form("/backends/x/status", &report).await.status, 200);
        assert_eq!(states(&outcome(&pair.tap).await), [(identity, "delivered")]);
        // Published by an application, and then posted by one.
        pair.tap.send(&json!({"backend": "x", "identities": [written], "text": "hi there"})).await;
        assert_eq!(provider.take().await.form()[0].1, identity);
        assert_eq!(states(&outcome(&pair.tap).await), [(identity, "sent")]);
        let message = json!({"backend": "x", "to": written, "text": "hi there"});
        assert_eq!(pair.ingress.post_json("/v1/messages", &message).await.status, 202);
        assert_eq!(provider.take().await.form()[0].1, identity);
        assert_eq!(states(&outcome(&pair.tap).await), [(identity, "sent")]);
    }
    pair.ends_silent(&["712345678", "hi there"]).await;
}
