//! How much a proxy says.

use mesh_api::proto::subscribe::Subscription;
use mesh_api::proto::{ProxyMessage, proxy_message::Message};

use crate::allowance::Rate;

/// How much a proxy may say, in names: what is beyond that is read later.
pub(super) const RATE: Rate = Rate::new(2_000, 16_000);

/// How much a message says, in names.
pub(super) fn count(message: &ProxyMessage) -> u32 {
    let names = match &message.message {
        // Hello comes once, and is bounded by itself.
        None | Some(Message::Ack(_) | Message::Hello(_)) => 0,
        Some(Message::Nack(nack)) => nack.rejections.len(),
        Some(Message::Subscribe(subscribe)) => {
            let hosts = match &subscribe.subscription {
                None | Some(Subscription::AllHosts(_)) => 0,
                Some(Subscription::Hosts(hosts)) => hosts.added.len() + hosts.removed.len(),
            };
            hosts + subscribe.names_added.len() + subscribe.names_removed.len()
        }
    };
    u32::try_from(names).unwrap_or(u32::MAX).saturating_add(1)
}
