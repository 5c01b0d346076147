//! Configuration changes under load: no request fails, none sees two versions.

#[cfg(test)]
#[path = "support/http.rs"]
mod http_support;
#[cfg(test)]
#[path = "support/mesh.rs"]
mod mesh;
#[cfg(test)]
#[path = "support/shop.rs"]
mod shop;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use http::HeaderValue;
use http_support::{Client, Upstream};
use mesh_api::header::EditableHeader;
use mesh_api::resource::Resource;
use mesh_api::route::filter::HeaderEdit;
use mesh_api::route::{HeaderEdits, HeaderOps, HeaderText};
use shop::{SHOP, Shop, always, labelled, routes, subset, weighted};

#[cfg(test)]
fn set(name: &'static str, value: &str) -> HeaderOps {
    let value = HeaderText::Literal(HeaderValue::from_str(value).unwrap());
    let name = EditableHeader::parse(name).unwrap();
    HeaderOps {
        set: vec![HeaderEdit { name, value }],
        ..HeaderOps::default()
    }
}

/// Version `number` sends everything to one subset and says its number both ways.
fn version(number: usize, v1: &Upstream, v2: &Upstream) -> Vec<Resource> {
    let chosen = if number.is_multiple_of(2) { "v1" } else { "v2" };
    let mut rule = always(weighted(SHOP, &[(chosen, 1)]));
    rule.headers = HeaderEdits {
        request: set("x-version", &number.to_string()),
        response: set("x-route-version", &format!("{number} {chosen}")),
    };
    vec![
        Resource::Cluster(Arc::new(subset(SHOP, Some("v1")))),
        Resource::Cluster(Arc::new(subset(SHOP, Some("v2")))),
        labelled(SHOP, &[(v1.address, "v1"), (v2.address, "v2")]),
        routes(SHOP, vec![rule]),
    ]
}

#[tokio::test]
async fn every_response_agrees_with_exactly_one_version() {
    let (v1, v2) = (Upstream::named("v1").await, Upstream::named("v2").await);
    let mut shop = Shop::with(shop::cluster(SHOP), &[], Vec::new()).await;
    shop.apply(version(0, &v1, &v2)).await;
    let stop = Arc::new(AtomicBool::new(false));
    let served = Arc::new(AtomicUsize::new(0));
    let mut loads = Vec::new();
    for number in 0..6 {
        let (stop, served, address) = (Arc::clone(&stop), Arc::clone(&served), shop.address);
        loads.push(tokio::spawn(async move {
            let mut client = if number % 2 == 0 {
                Client::http1(address).await
            } else {
                Client::http2(address).await
            };
            while !stop.load(Ordering::Relaxed) {
                let answer = client.get(SHOP, "/").await;
                assert_eq!(answer.status, 200, "{answer:?}");
                let (number, chosen) = answer.header("x-route-version").split_once(' ').unwrap();
                assert_eq!(answer.header("saw-x-version"), number);
                assert_eq!(answer.text(), chosen);
                served.fetch_add(1, Ordering::Relaxed);
            }
        }));
    }
    for number in 1..=100 {
        shop.apply(version(number, &v1, &v2)).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    stop.store(true, Ordering::Relaxed);
    for load in loads {
        load.await.unwrap();
    }
    assert!(served.load(Ordering::Relaxed) > 200);
    // Neither subset lost its connections to a change of the other.
    assert!(v1.connections() <= 16, "{} connections", v1.connections());
    assert_eq!(shop.proxy.live.load().sequence(), 102);
    let answer = shop.get("/").await;
    assert_eq!(answer.header("x-route-version"), "100 v1");
}
