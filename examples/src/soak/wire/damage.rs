//! The ways to damage a resource on the wire, and what the proxy has to say about each.

use std::fmt;

use mesh_api::proto;
use mesh_api::proto::rule::Action;
use mesh_api::proto::string_match::Text;
use prost::Message as _;

/// One way to damage a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::soak) enum Damage {
    /// A timeout with more nanoseconds than a second has.
    Timeout,
    /// A share beyond the whole.
    Share,
    /// A regex that compiles to more than is allowed.
    HugeRegex,
    /// An enum value from the future.
    UnknownEnum,
    /// A body without its end.
    Truncated,
    /// A cluster that a route refers to does not come.
    Dangling,
    /// A push without its end, then a broken stream.
    HalfPush,
}

/// The route and the cluster that get damaged.
const ROUTES: &str = "soak.example.com";
const CLUSTER: &str = "cluster/outbound|8080||direct.shop.svc.cluster.local";

impl Damage {
    pub(super) const ALL: [Self; 7] = [
        Self::Timeout,
        Self::Share,
        Self::HugeRegex,
        Self::UnknownEnum,
        Self::Truncated,
        Self::Dangling,
        Self::HalfPush,
    ];

    /// Whether a resource of this name is what the proxy must refuse.
    pub(super) fn is_about(self, name: &str) -> bool {
        match self {
            Self::Timeout | Self::Share | Self::HugeRegex | Self::Dangling | Self::HalfPush => {
                name.starts_with("routes/") && name.contains(ROUTES)
            }
            Self::UnknownEnum | Self::Truncated => name == CLUSTER,
        }
    }

    /// Whether the route goes on to the next version all the same.
    pub(super) fn spares_routes(self) -> bool {
        matches!(self, Self::UnknownEnum | Self::Truncated)
    }

    /// The field that the proxy must name.
    pub(super) fn field(self) -> &'static str {
        match self {
            Self::Timeout => "rules[0].action.forward.timeout.nanos",
            Self::Share => "rules[0].fault.delay.share_ppm",
            Self::HugeRegex => "rules[0].matches[0].path.text.text.regex",
            Self::UnknownEnum => "protocol",
            Self::Dangling => "rules[0].action.forward.destinations[0].target.cluster",
            // No field of a body that cannot be read, or that never came, is known.
            Self::Truncated | Self::HalfPush => "",
        }
    }

    /// Whether a resource is let through at all.
    pub(in crate::soak) fn passes(self, resource: &proto::Resource) -> bool {
        self != Self::Dangling || !resource.name.contains("|fresh-")
    }

    /// Damages a resource if it is the one; its version stays what it was.
    pub(in crate::soak) fn apply(self, resource: &mut proto::Resource) -> Option<()> {
        if !self.is_about(&resource.name) {
            return None;
        }
        let body = resource.body.clone();
        resource.body = match self {
            Self::Timeout | Self::Share | Self::HugeRegex => {
                let mut host = proto::VirtualHost::decode(body).ok()?;
                self.damage_rule(host.rules.first_mut()?)?;
                host.encode_to_vec().into()
            }
            Self::UnknownEnum => {
                let mut cluster = proto::Cluster::decode(body).ok()?;
                cluster.protocol = 99;
                cluster.encode_to_vec().into()
            }
            Self::Truncated => body.slice(..body.len().checked_sub(1)?),
            Self::Dangling | Self::HalfPush => return None,
        };
        Some(())
    }

    fn damage_rule(self, rule: &mut proto::Rule) -> Option<()> {
        match self {
            Self::Timeout => {
                let Some(Action::Forward(forward)) = &mut rule.action else {
                    return None;
                };
                forward.timeout = Some(proto::Duration {
                    seconds: 1,
                    nanos: 2_000_000_000,
                });
            }
            Self::Share => {
                rule.fault = Some(proto::Fault {
                    delay: Some(proto::FaultDelay {
                        duration: Some(proto::Duration {
                            seconds: 0,
                            nanos: 1,
                        }),
                        share_ppm: 1_000_001,
                    }),
                    abort: None,
                });
            }
            Self::HugeRegex => {
                let regex = "((a{100}){100}){100}".to_owned();
                let text = proto::StringMatch {
                    text: Some(Text::Regex(regex)),
                };
                rule.matches = vec![proto::RequestMatch {
                    path: Some(proto::PathMatch {
                        text: Some(text),
                        ignore_case: false,
                    }),
                    ..proto::RequestMatch::default()
                }];
            }
            Self::UnknownEnum | Self::Truncated | Self::Dangling | Self::HalfPush => return None,
        }
        Some(())
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Timeout => "a timeout out of range",
            Self::Share => "a share out of range",
            Self::HugeRegex => "a regex too large",
            Self::UnknownEnum => "an unknown enum value",
            Self::Truncated => "a truncated body",
            Self::Dangling => "a reference to nothing",
            Self::HalfPush => "half a push, then a broken stream",
        })
    }
}

/// A rule that changes a host's clusters with every version, with one more subset if given.
pub(super) fn destination_rule(host: &str, milliseconds: u64, subset: Option<&str>) -> String {
    let mut text = format!(
        "\
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata:
  name: {host}
  namespace: shop
spec:
  host: {host}
  trafficPolicy:
    connectionPool:
      tcp:
        connectTimeout: {milliseconds}ms
"
    );
    if let Some(subset) = subset {
        text.push_str("  subsets:\n    - name: ");
        text.push_str(subset);
        text.push('\n');
    }
    text
}
