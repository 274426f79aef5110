//! An ingress without a socket, to count what a request costs and to see how malformed requests are handled.

use crate::metrics::IngressMetrics;
use crate::{forms::Forms, lasting::Lasting, routes, state::IngressState};
use actix_web::{
    App, Error,
    body::{MessageBody, to_bytes},
    dev::{ServiceFactory, ServiceRequest, ServiceResponse},
    http::{
        Method, StatusCode, Uri,
        header::{CONTENT_TYPE, HOST, HeaderName, HeaderValue},
    },
    rt::{System, SystemRunner},
    test::{TestRequest, call_service, init_service},
    web::Data,
};
use bytes::Bytes;
use futures_util::{FutureExt, future::LocalBoxFuture};
use postern_broker::Broker;
use postern_config::Config;
use postern_service::{Monitoring, current::Current, metrics::Metrics};
use std::{fmt, net::SocketAddr, rc::Rc, sync::Arc};

/// The media type of a posted form.
const FORM: &str = "application/x-www-form-urlencoded";

/// Lets the ingress of `config` answer the same form `times` times, one after the other, from the parsed head
/// of the request on. It publishes to `broker`. Returns how many answers were 2xx.
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
    let state = state(config, broker)?;
    System::new().block_on(async {
        let app = init_service(app(&state)).await;
        let mut taken = 0;
        for _ in 0..times {
            let request = TestRequest::post().uri(path).insert_header((CONTENT_TYPE, FORM));
            let answer = call_service(&app, request.set_payload(body).to_request()).await;
            taken += usize::from(answer.status().is_success());
        }
        Ok(taken)
    })
}

/// An ingress without a socket and without a rate limit, for one thread.
pub struct Socketless {
    system: SystemRunner,
    call: Box<dyn Fn(TestRequest) -> LocalBoxFuture<'static, (StatusCode, Bytes)>>,
}

impl Socketless {
    /// The ingress of `config`, which publishes to `broker`.
    ///
    /// # Errors
    /// What is wrong with the configuration.
    pub fn new(config: Config, broker: Arc<dyn Broker>) -> Result<Self, String> {
        let state = state(config, broker)?;
        let system = System::new();
        let app = Rc::new(system.block_on(init_service(app(&state))));
        let call = Box::new(move |request: TestRequest| {
            let app = Rc::clone(&app);
            async move {
                let answer = call_service(&*app, request.to_request()).await;
                let status = answer.status();
                (status, to_bytes(answer.into_body()).await.unwrap_or_default())
            }
            .boxed_local()
        });
        Ok(Self { system, call })
    }

    /// The status and the body of the answer; `None` if `method`, `target` or `headers` are not valid in
    /// HTTP.
    pub fn answer(
        &self,
        method: &[u8],
        target: &[u8],
        headers: &[(&[u8], &[u8])],
        body: Vec<u8>,
    ) -> Option<(u16, Bytes)> {
        let target = Uri::try_from(target).ok()?;
        let mut request = TestRequest::default()
            .method(Method::from_bytes(method).ok()?)
            .uri(&target.to_string())
            .peer_addr(SocketAddr::from(([127, 0, 0, 1], 40_000)))
            .insert_header((HOST, "localhost"))
            .set_payload(body);
        for (name, value) in headers {
            let name = HeaderName::from_bytes(name).ok()?;
            request = request.append_header((name, HeaderValue::from_bytes(value).ok()?));
        }
        let (status, body) = self.system.block_on((self.call)(request));
        Some((status.as_u16(), body))
    }
}

impl fmt::Debug for Socketless {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socketless").finish_non_exhaustive()
    }
}

/// The state of an ingress without a rate limit: all requests come from one address, as fast as possible.
fn state(mut config: Config, broker: Arc<dyn Broker>) -> Result<Current<IngressState>, String> {
    config.ingress.rate_limit = None;
    let metrics = Metrics::new("measured", "0").map_err(|error| error.to_string())?;
    let own = IngressMetrics::declare(&metrics).map_err(|error| error.to_string())?;
    let monitoring = Monitoring::new(metrics);
    let lasting = Lasting::new(&config, broker, own, monitoring);
    let state = IngressState::new(Arc::new(config), &lasting, None, &Forms::builtin());
    state.map(Current::new).map_err(|problems| format!("{problems:?}"))
}

fn app(
    state: &Current<IngressState>,
) -> App<
    impl ServiceFactory<
        ServiceRequest,
        Response = ServiceResponse<impl MessageBody + use<>>,
        Config = (),
        InitError = (),
        Error = Error,
    > + use<>,
> {
    let app = App::new().app_data(Data::new(state.clone()));
    let all = [routes::providers, routes::compat, routes::applications, routes::everyone];
    all.iter().fold(app, |app, routes| app.configure(|app| routes(&state.get(), app)))
}
