//! The way of a request through the ingress without a socket, for counting what it costs.

use crate::{forms::Forms, observe::observe, routes, views::Gateway};
use actix_web::{
    App,
    http::header::CONTENT_TYPE,
    middleware::from_fn,
    rt::System,
    test::{TestRequest, call_service, init_service},
    web::Data,
};
use postern_shared::{broker::Broker, config::Config, metrics::Metrics};
use std::sync::Arc;

/// What a form is posted as.
const FORM: &str = "application/x-www-form-urlencoded";

/// Lets the ingress of `config` answer the same form so many times, one after the other, from the
/// parsed head of the request on; `broker` gets what comes of it. How many answers were 2xx.
///
/// # Errors
/// What is wrong with the configuration.
pub fn accept(
    config: Config,
    broker: Arc<dyn Broker>,
    path: &str,
    body: &'static str,
    times: usize,
) -> Result<usize, String> {
    System::new().block_on(async {
        let metrics = Metrics::new("measured", "0").map_err(|error| error.to_string())?;
        let gateway = Gateway::new(Arc::new(config), broker, metrics, &Forms::builtin());
        let gateway = gateway.map_err(|problems| format!("{problems:?}"))?;
        let gateway = Data::new(gateway);
        let app = App::new().app_data(gateway.clone()).wrap(from_fn(observe));
        let app = app.configure(|app| routes::providers(&gateway, app));
        let app = init_service(app.configure(|app| routes::everyone(&gateway, app))).await;
        let mut taken = 0;
        for _ in 0..times {
            let request = TestRequest::post().uri(path).insert_header((CONTENT_TYPE, FORM));
            let answer = call_service(&app, request.set_payload(body).to_request()).await;
            taken += usize::from(answer.status().is_success());
        }
        Ok(taken)
    })
}
