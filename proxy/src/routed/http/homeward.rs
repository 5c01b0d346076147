//! What a route does to an answer on its way back to the client.

use std::net::SocketAddr;
use std::sync::Arc;

use http::Response;
use http::header::{self, HeaderMap, HeaderValue};
use mesh_api::route::HeaderEdits;

use super::Entry;
use crate::carry::arrival::Arrival;
use crate::carry::response::ResponseBody;
use crate::config::RouteRule;
use crate::filter::headers::{self as edits, Facts, RequestFacts};
use crate::http::respond::LocalReply;

/// What is done to the answer on its way back.
pub(super) struct Homeward<'a> {
    pub(super) rule: &'a RouteRule,
    pub(super) destination: Option<&'a HeaderEdits>,
    pub(super) destinations: usize,
    pub(super) request: Option<RequestFacts>,
    pub(super) cookie: Option<HeaderValue>,
}

impl Homeward<'_> {
    /// Carries out the edits of the response.
    pub(super) fn edit(
        self,
        entry: &Entry,
        cluster: Option<&Arc<str>>,
        upstream: Option<SocketAddr>,
        headers: &mut HeaderMap,
    ) {
        let nothing = HeaderEdits::default();
        let order = edits::in_order(
            &self.rule.rule().headers,
            self.destination.unwrap_or(&nothing),
            self.destinations,
        );
        let facts = Facts {
            remote: entry.client.downstream.remote,
            local: entry.client.downstream.local,
            http2: entry.client.is_http2(),
            route: &self.rule.rule().name,
            cluster,
            upstream,
            request: self.request.as_ref(),
        };
        for edits in order {
            if !edits.response.is_empty() {
                edits::apply(&edits.response, headers, &facts);
            }
        }
        if let Some(cookie) = self.cookie {
            headers.append(header::SET_COOKIE, cookie);
        }
    }
}

/// Answers by the rule itself; its response edits hold for that, too.
pub(super) fn answer(
    arrival: Box<Arrival>,
    rule: &RouteRule,
    reply: LocalReply,
    entry: &Entry,
) -> Response<ResponseBody> {
    let request = edits::reads_request(&rule.rule().headers.response)
        .then(|| RequestFacts::of(&arrival.parts));
    let homeward = Homeward {
        rule,
        destination: None,
        destinations: 1,
        request,
        cookie: None,
    };
    arrival.answer(reply, |headers| homeward.edit(entry, None, None, headers))
}
