//! From an accepted outbound connection to the spine that carries it.
//!
//! Finds out where the connection was going (in capture mode), and hands it to what carries by
//! rules, [`crate::routed`], or to the policy for unknown traffic.

mod unknown;

use std::rc::Rc;
use std::sync::Arc;

use mesh_api::listener::{Listener, ListenerKind, UnmatchedTraffic};

use crate::authz::Permit;
use crate::carry::pass_through::pass_through;
use crate::carry::refuse;
use crate::net::{Connection, Way, original_dst};
use crate::routed::meet::{Meeting, Met, Place, meet};
use crate::routed::{carry, serve_http, serve_rules};
use crate::worker::Worker;

/// Carries a connection accepted at an outbound listener.
pub async fn serve(worker: Rc<Worker>, connection: Connection, listener: Arc<Listener>) {
    let ListenerKind::Outbound(outbound) = &listener.kind else {
        return;
    };
    match &outbound.http {
        // Nothing else can come here, so whatever comes is answered as HTTP.
        Some(selection) if outbound.tls.rules.is_empty() && outbound.tcp.rules.is_empty() => {
            let selection = selection.clone();
            serve_http(worker, connection, listener, selection, None).await;
        }
        Some(_) | None => serve_rules(worker, connection, listener, Permit::outbound()).await,
    }
}

/// Carries a connection that was redirected to the outbound capture port.
pub async fn serve_captured(
    worker: Rc<Worker>,
    mut connection: Connection,
    listener: Arc<Listener>,
    unmatched: UnmatchedTraffic,
) {
    let destination = match original_dst::original_destination(&connection.stream) {
        Ok(Some(destination)) => destination,
        Ok(None) => return refuse(&connection, &listener, "it was not redirected"),
        Err(error) => return refuse(&connection, &listener, &error.to_string()),
    };
    connection.original_destination = Some(destination);
    if worker.is_own_socket(Way::Outbound, destination) {
        return refuse(&connection, &listener, "it would come back here");
    }
    drop(listener);
    let place = Place::Redirected(destination);
    let Ok(Some(Meeting { met, start })) = meet(&worker, &connection, &place).await else {
        return;
    };
    let permit = Permit::outbound();
    match (met, unmatched) {
        (Met::Unknown, UnmatchedTraffic::Passthrough) => {
            let through = pass_through(worker, connection, start.bytes, destination, permit);
            Box::pin(through).await;
        }
        (Met::Unknown, UnmatchedTraffic::Refuse) => {
            Box::pin(unknown::refuse(worker, connection, start)).await;
        }
        (met @ (Met::Http(_) | Met::Bytes(_)), _) => {
            carry(worker, connection, met, start, permit).await;
        }
    }
}
