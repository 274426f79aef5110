//! The table of routes: which view answers what.

use crate::views::{
    Gateway, backends,
    doors::{kannel, vumi},
    messages, not_found, openapi, receive, status,
};
use actix_web::web::{self, ServiceConfig};

/// For providers.
pub(crate) fn providers(_: &Gateway, routes: &mut ServiceConfig) {
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
        .service(web::resource(["/backends/{name}", "/backends/{name}/"]).to(receive::receive))
        .service(web::resource(reports).to(status::status))
        .service(web::resource(tokens).to(receive::receive))
        .service(web::resource(token_reports).to(status::status));
}

/// For the clients of other gateways.
pub(crate) fn doors(gateway: &Gateway, routes: &mut ServiceConfig) {
    let doors = &gateway.config.doors;
    if let Some(door) = &doors.kannel {
        routes.service(web::resource(&*door.path).to(kannel::sendsms));
    }
    if let Some(door) = &doors.vumi {
        routes.service(web::resource(&*door.path).to(vumi::messages));
    }
}

/// For applications.
pub(crate) fn applications(_: &Gateway, routes: &mut ServiceConfig) {
    routes.service(
        web::scope("/v1")
            .route("/messages", web::post().to(messages::submit))
            .route("/messages", web::to(messages::only_post))
            .route("/backends", web::get().to(backends::list))
            .route("/backends", web::to(backends::only_get))
            .default_service(web::to(not_found::problem)),
    );
}

/// For both.
pub(crate) fn everyone(_: &Gateway, routes: &mut ServiceConfig) {
    routes
        .route("/openapi.json", web::get().to(openapi::document))
        .route("/openapi.json", web::to(backends::only_get))
        .default_service(web::to(not_found::text));
}
