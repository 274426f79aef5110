//! The table of routes: which handler answers what.

use crate::{
    api::{backends, health, logged, messages, openapi, unmatched},
    compat::{kannel, vumi},
    provider::handler,
    respond::answering,
    state::IngressState,
};
use actix_web::{
    http::Method,
    web::{self, ServiceConfig},
};

/// Routes for providers.
pub(crate) fn providers(_: &IngressState, routes: &mut ServiceConfig) {
    let messages = ["/backends/{name}", "/backends/{name}/"];
    let reports =
        ["/backends/{name}/status", "/backends/{name}/status/", "/backends/{name}/status/{callback}"];
    // For providers that prove themselves by a token in the path.
    let tokens = ["/backends/{name}/{token}", "/backends/{name}/{token}/"];
    let token_reports = [
        "/backends/{name}/{token}/status",
        "/backends/{name}/{token}/status/",
        "/backends/{name}/{token}/status/{callback}",
    ];
    routes
        .service(web::resource(messages).route(answering(handler::messages)))
        .service(web::resource(reports).route(answering(handler::reports)))
        .service(web::resource(tokens).route(answering(handler::messages)))
        .service(web::resource(token_reports).route(answering(handler::reports)));
}

/// Routes for the clients of other gateways.
pub(crate) fn compat(state: &IngressState, routes: &mut ServiceConfig) {
    let compat = &state.config.compat;
    if let Some(section) = &compat.kannel {
        routes.service(web::resource(&*section.path).route(answering(kannel::sendsms)));
    }
    if let Some(section) = &compat.vumi {
        routes.service(web::resource(&*section.path).route(answering(vumi::messages)));
    }
}

/// Routes for applications.
pub(crate) fn applications(_: &IngressState, routes: &mut ServiceConfig) {
    routes.service(
        web::scope("/v1")
            .route("/messages", answering(messages::submit).method(Method::POST))
            .route("/messages", answering(logged::list).method(Method::GET))
            .route("/messages", answering(unmatched::only_get_and_post))
            .route("/messages/{id}", answering(logged::message).method(Method::GET))
            .route("/messages/{id}", answering(unmatched::only_get))
            .route("/backends", answering(backends::list).method(Method::GET))
            .route("/backends", answering(unmatched::only_get))
            .default_service(answering(unmatched::problem)),
    );
}

/// Routes that every listener has.
pub(crate) fn everyone(_: &IngressState, routes: &mut ServiceConfig) {
    routes
        .route("/health", web::get().to(health::answer))
        .route("/health", web::head().to(health::answer))
        .route("/health", answering(unmatched::only_get_and_head))
        .route("/openapi.json", answering(openapi::document).method(Method::GET))
        .route("/openapi.json", answering(unmatched::only_get))
        .default_service(answering(unmatched::text));
}
