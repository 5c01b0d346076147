//! Paths: the form that is matched and forwarded, as the settings say, and what a rewrite makes of it.

#[cfg(test)]
#[path = "support/http.rs"]
mod http_support;
#[cfg(test)]
#[path = "support/mesh.rs"]
mod mesh;
#[cfg(test)]
#[path = "support/shop.rs"]
mod shop;

use http::StatusCode;
use http_support::{Upstream, fetch};
use mesh::{TestProxy, free_address};
use mesh_api::resource::Resource;
use mesh_api::route::{
    NormalForm, Pattern, Redirect, RedirectPath, RedirectPort, RouteAction, UriRewrite,
};
use mesh_api::settings::ProxySettings;
use shop::{SHOP, Shop, always, cluster, endpoints, forward, inbound, prefix, routes, rule};

fn settings(paths: NormalForm) -> Resource {
    Resource::from(ProxySettings {
        paths,
        ..ProxySettings::default()
    })
}

#[tokio::test]
async fn the_settings_choose_the_form_of_paths_both_ways() {
    let upstream = Upstream::named("one").await;
    let mut shop = Shop::new(&[upstream.address], forward(SHOP)).await;
    let (mut sidecar, inner) = (TestProxy::start(), free_address());
    let given = "/a//b/%2E/../c%2fd\\e";
    for (form, expected) in [
        (None, "/a//c%2fd/e"),
        (Some(NormalForm::AsGiven), "/a//b/%2E/../c%2fd\\e"),
        (Some(NormalForm::Base), "/a//c%2fd/e"),
        (Some(NormalForm::MergeSlashes), "/a/c%2fd/e"),
        (Some(NormalForm::DecodeAndMergeSlashes), "/a/c/d/e"),
    ] {
        let mut outbound: Vec<Resource> = vec![
            Resource::from(cluster(SHOP)),
            endpoints(SHOP, &[upstream.address]),
            routes(SHOP, vec![always(forward(SHOP))]),
        ];
        outbound.extend(form.map(settings));
        shop.apply(outbound).await;
        let mut application = vec![inbound(inner, upstream.address, mesh::OPEN)];
        application.extend(form.map(settings));
        sidecar.apply(application).await;
        for address in [shop.address, inner] {
            let answer = fetch(address, SHOP, given).await;
            assert_eq!(answer.header("saw-target"), expected, "{form:?}");
            for refused in ["/%zz", "/a?b=%0", "/%00", "/public/%%32%65%%32%65/admin"] {
                let answer = fetch(address, SHOP, refused).await;
                assert_eq!(answer.status, 400, "{refused} {form:?}");
            }
        }
    }
}

#[tokio::test]
async fn what_a_rewrite_makes_is_in_normal_form_or_refused() {
    let upstream = Upstream::named("one").await;
    let rewriting = |from: &str, uri| {
        let mut action = forward(SHOP);
        action.rewrite.uri = uri;
        rule(
            from,
            vec![prefix(from)],
            RouteAction::Forward(Box::new(action)),
        )
    };
    let to = |from: &str, replacement: &str| UriRewrite::Prefix {
        prefixes: vec![from.into()],
        replacement: replacement.into(),
    };
    let swap = UriRewrite::Regex {
        pattern: Pattern::unanchored("^/r/(.*)x(.*)$").unwrap(),
        substitution: "/r/\\1.\\2".into(),
    };
    let elsewhere = RouteAction::Redirect(Redirect {
        status: StatusCode::FOUND,
        scheme: None,
        authority: None,
        port: RedirectPort::Keep,
        path: RedirectPath::Prefix {
            matched: "/m".into(),
            replacement: "/moved/".into(),
        },
    });
    let rules = vec![
        rewriting("/a", to("/a", "/static/")),
        rewriting("/c", to("/c", "/%")),
        rewriting("/f", UriRewrite::Full("/x/./y".into())),
        rewriting("/r", swap),
        rule("/m", vec![prefix("/m")], elsewhere),
    ];
    let shop = Shop::with(cluster(SHOP), &[upstream.address], rules).await;
    for (given, expected) in [
        ("/a/b?c", "/static//b?c"),
        ("/a.b", "/static/.b"),
        ("/c41", "/A"),
        ("/f/anything", "/x/y"),
        ("/r/ax", "/r/a."),
    ] {
        let answer = shop.get(given).await;
        assert_eq!(answer.header("saw-target"), expected, "{given}");
    }
    for refused in [
        "/a../admin",
        "/a.",
        "/a..",
        "/a..%2fadmin",
        "/c4",
        "/c00",
        "/czz",
        "/r/x./b",
        "/r/.x",
        "/m..",
        "/m../admin",
    ] {
        let answer = shop.get(refused).await;
        assert_eq!(answer.status, 400, "{refused}: {:?}", answer.headers);
    }
    let moved = shop.get("/m/x?y").await;
    assert_eq!(moved.header("location"), "http://shop.test/moved//x?y");
    assert_eq!(upstream.requests(), 5);
}
