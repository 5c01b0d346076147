//! What only the access log prints of a request.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{HeaderValue, Method, Uri, Version, header};
use mesh_api::name::ClusterName;

use super::Downstream;
use crate::telemetry::access_log::AccessLogger;

/// What only the access log prints.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) logger: Rc<AccessLogger>,
    pub(super) started: SystemTime,
    pub(super) downstream: Downstream,
    /// What is known of the request itself; `None` if it could not be read.
    pub(super) method: Option<Method>,
    pub(super) uri: Option<Uri>,
    pub(super) protocol: Option<&'static str>,
    pub(super) authority: Option<HeaderValue>,
    pub(super) user_agent: Option<HeaderValue>,
    pub(super) forwarded_for: Option<HeaderValue>,
    pub(super) request_id: Option<HeaderValue>,
    pub(super) details: Option<&'static str>,
    pub(super) reason: Option<Arc<str>>,
    pub(super) transport_failure: Option<Cow<'static, str>>,
    pub(super) service_time: Option<Duration>,
    pub(super) upstream_host: Option<SocketAddr>,
    pub(super) upstream_local: Option<SocketAddr>,
    pub(super) cluster: Option<ClusterName>,
    pub(super) route: Option<Arc<str>>,
}

impl Facts {
    /// What is known before anything was read.
    pub(super) fn new(logger: Rc<AccessLogger>, downstream: &Downstream) -> Self {
        Self {
            logger,
            started: SystemTime::now(),
            downstream: downstream.clone(),
            method: None,
            uri: None,
            protocol: None,
            authority: None,
            user_agent: None,
            forwarded_for: None,
            request_id: None,
            details: None,
            reason: None,
            transport_failure: None,
            service_time: None,
            upstream_host: None,
            upstream_local: None,
            cluster: None,
            route: None,
        }
    }

    /// The request, before anything about it is changed.
    pub(super) fn note(&mut self, request: &http::request::Parts) {
        let header = |name: &str| request.headers.get(name).cloned();
        self.method = Some(request.method.clone());
        self.uri = Some(request.uri.clone());
        self.protocol = Some(match request.version {
            Version::HTTP_10 => "HTTP/1.0",
            Version::HTTP_2 => "HTTP/2",
            _ => "HTTP/1.1",
        });
        self.authority = header(header::HOST.as_str());
        self.user_agent = header(header::USER_AGENT.as_str());
        self.forwarded_for = header(super::FORWARDED_FOR);
        self.request_id = header(super::REQUEST_ID);
    }
}
