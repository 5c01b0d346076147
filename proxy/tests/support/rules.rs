//! Any rule a user may write, and any request, by dice that fall the same way every time.

#![expect(unreachable_pub, reason = "every test binary has its own copy")]

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use mesh_api::header::EditableHeader;
use mesh_api::route::filter::{AbortAnswer, HeaderEdit};
use mesh_api::route::{
    Cors, Destination, Destinations, DirectResponse, Fault, FaultAbort, FaultDelay, Forward,
    HeaderEdits, HeaderOps, HeaderText, Mirror, Operator, Pattern, Redirect, RedirectPath,
    RedirectPort, RetryCondition, RetryPolicy, Rewrite, RouteAction, Rule, StringMatch, Target,
    TextPart, UriRewrite,
};
use mesh_api::units::PartsPerMillion;

use crate::shop::{SHOP, cluster_name, forward_to, rule};

/// Random numbers that are the same in every run (a permuted congruential generator).
pub struct Dice(u64);

/// A request of a client.
#[derive(Clone, Debug)]
pub struct Asked {
    pub number: usize,
    pub method: &'static str,
    pub path: String,
    pub content: Content,
}

/// What a request carries, and how it says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Nothing, and nothing about it.
    None,
    /// Nothing, and that is said.
    Empty,
    /// So many bytes, and that is said.
    Sized(usize),
    /// So many bytes; how many is not said.
    Unsized(usize),
}

impl Content {
    pub fn bytes(self) -> Vec<u8> {
        match self {
            Self::None | Self::Empty => Vec::new(),
            Self::Sized(length) | Self::Unsized(length) => vec![b'x'; length],
        }
    }
}

const NAMES: [&str; 14] = [
    "x-a",
    "x_b",
    "date",
    "etag",
    "content-type",
    "content-encoding",
    "accept",
    "server",
    "vary",
    "cache-control",
    "range",
    "set-cookie",
    "location",
    "content-range",
];

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn below(&mut self, limit: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    fn sometimes(&mut self) -> bool {
        self.below(3) == 0
    }

    pub fn request(&mut self, number: usize) -> Asked {
        let content = match self.below(6) {
            0 | 1 => Content::None,
            2 => Content::Empty,
            3 => Content::Sized(self.one(&[1, 5, 40_000])),
            _ => Content::Unsized(self.one(&[0, 1, 5, 40_000])),
        };
        let kind = self.below(10);
        Asked {
            number,
            method: self.one(&[
                "GET", "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH",
            ]),
            path: format!("/a/{kind}/{}", self.one(&["", "b", "b?c=d", "%41//"])),
            content,
        }
    }

    pub fn rule(&mut self) -> Rule {
        let action = match self.below(8) {
            0 => RouteAction::Respond(DirectResponse {
                status: self.status(),
                body: Bytes::from("d".repeat(self.one(&[0, 5, 3_000]))),
            }),
            1 => RouteAction::Redirect(Redirect {
                status: StatusCode::from_u16(self.one(&[301, 302, 303, 307, 308])).unwrap(),
                scheme: None,
                authority: Some("other.test".into()),
                port: RedirectPort::Keep,
                path: RedirectPath::Prefix {
                    matched: "/a".into(),
                    replacement: "/z".into(),
                },
            }),
            _ => RouteAction::Forward(Box::new(self.forward())),
        };
        let mut made = rule("any", Vec::new(), action);
        made.headers = self.edits();
        if self.sometimes() {
            made.fault = Some(self.fault());
        }
        if self.sometimes() {
            made.cors = Some(Cors {
                allow_origins: vec![StringMatch::Prefix("".into())],
                allow_methods: vec!["GET".into()],
                ..Cors::default()
            });
        }
        made
    }

    fn status(&mut self) -> StatusCode {
        let codes = [200, 201, 204, 205, 206, 304, 400, 404, 418, 500, 503, 599];
        StatusCode::from_u16(self.one(&codes)).unwrap()
    }

    fn fault(&mut self) -> Fault {
        let share = PartsPerMillion::from_percent(self.one(&[0.0, 50.0, 100.0]));
        let answer = if self.sometimes() {
            AbortAnswer::Grpc(14)
        } else {
            AbortAnswer::Http(self.status())
        };
        Fault {
            delay: self.sometimes().then_some(FaultDelay {
                duration: Duration::from_millis(1),
                share,
            }),
            abort: self.sometimes().then_some(FaultAbort { answer, share }),
        }
    }

    fn forward(&mut self) -> Forward {
        let destination = Destination {
            target: Target::Cluster(cluster_name(SHOP, None)),
            weight: 1,
            headers: self.edits(),
        };
        let mut forward = forward_to(Destinations::new(vec![destination]).unwrap());
        forward.timeout = self.sometimes().then_some(Duration::from_secs(20));
        if self.sometimes() {
            forward.retry = RetryPolicy {
                attempts: 2,
                on: [
                    RetryCondition::ServerError,
                    RetryCondition::Reset,
                    RetryCondition::ConnectFailure,
                ]
                .into_iter()
                .collect(),
                ..RetryPolicy::mesh_default()
            };
        }
        if self.sometimes() {
            forward.mirrors = vec![Mirror {
                target: Target::Cluster(cluster_name(SHOP, None)),
                share: PartsPerMillion::ALL,
            }];
        }
        forward.rewrite = Rewrite {
            uri: match self.below(5) {
                0 => UriRewrite::Prefix {
                    prefixes: vec!["/a".into()],
                    replacement: "/p/q".into(),
                },
                1 => UriRewrite::Regex {
                    pattern: Pattern::unanchored("^/a/([0-9])").unwrap(),
                    substitution: "/r/\\1".into(),
                },
                _ => UriRewrite::Keep,
            },
            authority: self.sometimes().then(|| "inner.test:81".into()),
        };
        forward
    }

    fn edits(&mut self) -> HeaderEdits {
        HeaderEdits {
            request: self.ops(),
            response: self.ops(),
        }
    }

    fn ops(&mut self) -> HeaderOps {
        if !self.sometimes() {
            return HeaderOps::default();
        }
        let mut edit = || HeaderEdit {
            name: self.name(),
            value: if self.sometimes() {
                HeaderText::Template(vec![
                    TextPart::Literal("v ".into()),
                    TextPart::Operator(Operator::RequestHeader(":path".into())),
                ])
            } else {
                HeaderText::Literal(HeaderValue::from_static("v"))
            },
        };
        HeaderOps {
            set: vec![edit()],
            add: vec![edit(), edit()],
            remove: vec![self.name()],
        }
    }

    fn name(&mut self) -> EditableHeader {
        EditableHeader::parse(self.one(&NAMES)).unwrap()
    }
}
