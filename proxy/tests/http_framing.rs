//! Whatever is configured, a message's head and its body agree on the wire: requests and responses,
//! in all four pairs of protocols, over connections that are used again and again.

#[cfg(test)]
#[path = "support/http.rs"]
mod http_support;
#[cfg(test)]
#[path = "support/mesh.rs"]
mod mesh;
#[cfg(test)]
#[path = "support/rules.rs"]
mod rules;
#[cfg(test)]
#[path = "support/shop.rs"]
mod shop;
#[cfg(test)]
#[path = "support/strict.rs"]
mod strict;
#[cfg(test)]
#[path = "support/wire.rs"]
mod wire;

use http::Version;
use mesh_api::cluster::UpstreamProtocol;
use rules::Dice;
use shop::{SHOP, Shop, cluster};
use wire::{Backend, Caller};

/// Configurations per pair of protocols, and requests per configuration.
const ROUNDS: usize = 30;
const REQUESTS: usize = 8;

/// What reaches the backend has the content it was sent with, and every response is one
/// that a strict reader finds the end of.
#[cfg(test)]
async fn head_and_body_agree(client: Version, upstream: Version) {
    let (http2_client, http2_upstream) = (client == Version::HTTP_2, upstream == Version::HTTP_2);
    let backend = Backend::start(http2_upstream).await;
    let mut shop_cluster = cluster(SHOP);
    shop_cluster.protocol = if http2_upstream {
        UpstreamProtocol::Http2
    } else {
        UpstreamProtocol::Http1
    };
    let mut dice = Dice::new(0x5eed + u64::from(http2_client) * 2 + u64::from(http2_upstream));
    let start = vec![dice.rule()];
    let mut shop = Shop::with(shop_cluster.clone(), &[backend.address], start).await;
    let (mut number, mut with, mut without) = (0, 0, 0);
    for _ in 0..ROUNDS {
        let rule = dice.rule();
        let described = format!("{rule:?}");
        shop.apply(vec![
            shop_cluster.clone().into(),
            shop::endpoints(SHOP, &[backend.address]),
            shop::routes(SHOP, vec![rule]),
        ])
        .await;
        let mut caller = Caller::new(http2_client, shop.address).await;
        for _ in 0..REQUESTS {
            number += 1;
            let request = dice.request(number);
            if let Err(wrong) = caller.call(&request).await {
                panic!("{wrong}\nfor {request:?}\nby {described}");
            }
            let arrived = backend.contents(number);
            if !arrived.is_empty() {
                let is_empty = request.content.bytes().is_empty();
                *(if is_empty { &mut without } else { &mut with }) += 1;
            }
            for content in arrived {
                assert_eq!(
                    content,
                    request.content.bytes(),
                    "for {request:?}\nby {described}"
                );
            }
        }
        let violations = backend.violations();
        assert!(violations.is_empty(), "{violations:?}\nby {described}");
    }
    // Requests were forwarded with content and without.
    println!("{with} of {number} forwarded with content, {without} without");
    assert!(with > ROUNDS && without > ROUNDS, "{with}, {without}");
}

#[tokio::test]
async fn head_and_body_agree_from_http1_to_http1() {
    head_and_body_agree(Version::HTTP_11, Version::HTTP_11).await;
}

#[tokio::test]
async fn head_and_body_agree_from_http1_to_http2() {
    head_and_body_agree(Version::HTTP_11, Version::HTTP_2).await;
}

#[tokio::test]
async fn head_and_body_agree_from_http2_to_http1() {
    head_and_body_agree(Version::HTTP_2, Version::HTTP_11).await;
}

#[tokio::test]
async fn head_and_body_agree_from_http2_to_http2() {
    head_and_body_agree(Version::HTTP_2, Version::HTTP_2).await;
}
