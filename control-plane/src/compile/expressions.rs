//! What regular expressions may cost the proxies that get them: each object, each namespace, and all
//! of a configuration together.
//!
//! A megabyte of program fits into ten letters of text, and everybody who sees a route pays for it.
//! Equal expressions cost once. Half of what all may take is divided among the namespaces that have
//! expressions, so that none can use up what another needs; of the other half those get more that
//! come first. What does not fit is not used and named; the match or the route it belongs to refuses
//! requests (`routes/unreadable.rs`), and everything else goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mesh_api::route::Pattern;
use mesh_api::route::matcher::InvalidPattern;

use super::diagnostics::{Code, codes};
use crate::crd::StringMatch;
use crate::crd::virtual_service::{HttpMatchRequest, VirtualServiceSpec};
use crate::meta::ObjectKey;
use crate::model::World;

/// Bytes of programs of one object.
pub(crate) const OBJECT: usize = 4 << 20;
/// Of all objects of one namespace.
const NAMESPACE: usize = 8 << 20;
/// Of all objects whose routes one proxy has.
const ALL: usize = 32 << 20;
/// What of that is divided among the namespaces, each the same.
const DIVIDED: usize = ALL / 2;

/// Why an expression is not used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unusable {
    pub(crate) code: Code,
    pub(crate) message: String,
}

impl Unusable {
    /// What an expression is to somebody who does not need it compiled.
    pub(crate) fn not_compiled() -> Self {
        Self {
            code: codes::BAD_PATTERN,
            message: String::new(),
        }
    }
}

type Written = (bool, Arc<str>);

/// What the expressions of a configuration cost so far.
#[derive(Debug)]
pub(crate) struct Expressions {
    of_object: BTreeMap<ObjectKey, Share>,
    of_namespace: BTreeMap<String, Share>,
    /// What each namespace has for itself.
    each: usize,
    /// What namespaces took beyond that.
    beyond: Share,
    refused: BTreeMap<(ObjectKey, Written), Unusable>,
}

/// Some expressions, and what they cost.
#[derive(Debug, Default)]
struct Share {
    expressions: BTreeSet<Written>,
    cost: usize,
    /// Whether something did not fit. What comes after it is not compiled to find out whether it
    /// would: that alone may take a second of everybody's time.
    full: bool,
}

impl Share {
    fn fits(&self, written: &Written, cost: usize, limit: usize) -> bool {
        self.expressions.contains(written) || self.cost.saturating_add(cost) <= limit
    }

    fn add(&mut self, written: &Written, cost: usize) {
        if self.expressions.insert(written.clone()) {
            self.cost += cost;
        }
    }
}

impl Expressions {
    /// None yet, of so many namespaces.
    fn of_namespaces(count: usize) -> Self {
        Self {
            of_object: BTreeMap::new(),
            of_namespace: BTreeMap::new(),
            each: DIVIDED / count.max(1),
            beyond: Share::default(),
            refused: BTreeMap::new(),
        }
    }

    /// None yet, of the objects of this world.
    pub(crate) fn of(world: &World) -> Self {
        let all = world.virtual_services.iter();
        let writing = all.filter(|one| is_written_with_expressions(&one.spec));
        let namespaces: BTreeSet<&str> = writing.map(|one| one.namespace()).collect();
        Self::of_namespaces(namespaces.len())
    }

    /// An expression of an object that matches the whole of a text, or, if not anchored, a part.
    pub(crate) fn pattern(
        &mut self,
        object: &ObjectKey,
        anchored: bool,
        source: &str,
    ) -> Result<Pattern, Unusable> {
        let written: Written = (anchored, Arc::from(source));
        let place = (object.clone(), written.clone());
        if let Some(refused) = self.refused.get(&place) {
            return Err(refused.clone());
        }
        let judged = self.judge(object, &written);
        if let Err(unusable) = &judged {
            self.refused.insert(place, unusable.clone());
        }
        judged
    }

    fn judge(&mut self, object: &ObjectKey, written: &Written) -> Result<Pattern, Unusable> {
        let (anchored, source) = written;
        let own = self.of_object.entry(object.clone()).or_default();
        if own.full && !own.expressions.contains(written) {
            return Err(too_large(source, None, "object", OBJECT));
        }
        let pattern = Pattern::checked(*anchored, source).map_err(|error| {
            // To find that out it was built up to the limit: once is enough.
            own.full |= error == InvalidPattern::TooLarge;
            Unusable {
                code: codes::BAD_PATTERN,
                message: error.to_string(),
            }
        })?;
        let cost = pattern.cost();
        let shared = self
            .of_namespace
            .entry(object.namespace.clone())
            .or_default();
        let for_itself = shared.fits(written, cost, self.each);
        let shares = [
            (&*own, "object", OBJECT),
            (&*shared, "namespace", NAMESPACE),
            (&self.beyond, "configuration of one proxy", ALL - DIVIDED),
        ];
        let too_small = shares
            .into_iter()
            .take(if for_itself { 2 } else { 3 })
            .find(|(share, _, limit)| !share.fits(written, cost, *limit));
        if let Some((_, of, limit)) = too_small {
            own.full = true;
            return Err(too_large(source, Some(cost), of, limit));
        }
        own.add(written, cost);
        shared.add(written, cost);
        if !for_itself {
            self.beyond.add(written, cost);
        }
        Ok(pattern)
    }
}

/// Whether there is an expression in it anywhere.
fn is_written_with_expressions(spec: &VirtualServiceSpec) -> bool {
    let is_one = |text: &StringMatch| matches!(text, StringMatch::Regex(_));
    let in_match = |one: &HttpMatchRequest| {
        let fields = [&one.uri, &one.scheme, &one.method, &one.authority];
        let maps = [&one.headers, &one.without_headers, &one.query_params];
        fields.into_iter().flatten().any(is_one)
            || maps.into_iter().flat_map(BTreeMap::values).any(is_one)
    };
    spec.http.iter().any(|route| {
        let rewrite = route.rewrite.as_ref();
        let cors = route.cors_policy.as_ref();
        route.matches.iter().any(in_match)
            || rewrite.is_some_and(|one| one.uri_regex_rewrite.is_some())
            || cors.is_some_and(|one| one.allow_origins.iter().any(is_one))
    })
}

fn too_large(source: &str, cost: Option<usize>, of: &str, limit: usize) -> Unusable {
    let shown: String = source.chars().take(80).collect();
    let more = if shown.len() < source.len() {
        "…"
    } else {
        ""
    };
    let cost = match cost {
        Some(cost) => format!("takes {} KiB once compiled", cost.div_ceil(1024)),
        None => "comes after one that did not fit".to_owned(),
    };
    Unusable {
        code: codes::EXPRESSIONS_TOO_LARGE,
        message: format!(
            "the regular expression {shown:?}{more} {cost}, and those of one {of} may take {} KiB \
             together; it is not used. Use fewer, or smaller repetition counts and classes ([a-z] \
             for \\pL)",
            limit / 1024
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crd::Kind;

    fn key(namespace: &str, name: &str) -> ObjectKey {
        ObjectKey::new(Kind::VirtualService, namespace, name)
    }

    /// Asks for many large expressions; how many are taken, and what the last hears.
    fn flood(all: &mut Expressions, object: &ObjectKey, salt: &str) -> (usize, String) {
        let mut last = String::new();
        let taken = (0..300).filter(|index| {
            let source = format!(r"{salt}{index}\pL{{24}}");
            match all.pattern(object, true, &source) {
                Ok(_) => true,
                Err(unusable) => {
                    assert_eq!(unusable.code, codes::EXPRESSIONS_TOO_LARGE);
                    last = unusable.message;
                    false
                }
            }
        });
        (taken.count(), last)
    }

    fn cost(all: &Expressions) -> usize {
        all.of_namespace.values().map(|share| share.cost).sum()
    }

    #[test]
    fn one_object_uses_up_its_own_share_only() {
        let mut all = Expressions::of_namespaces(1);
        let greedy = key("evil", "a");
        let (taken, said) = flood(&mut all, &greedy, "a");
        assert!((1..20).contains(&taken), "{taken}");
        assert!(
            said.contains("one object") && said.contains("4096 KiB"),
            "{said}"
        );
        assert!(cost(&all) <= OBJECT);
        // What was refused stays so.
        assert_eq!(flood(&mut all, &greedy, "a").0, taken);
        all.pattern(&key("evil", "b"), true, "/api/v[0-9]+/.*")
            .unwrap();
    }

    #[test]
    fn one_namespace_leaves_room_for_others() {
        let mut all = Expressions::of_namespaces(2);
        for index in 0..20 {
            flood(
                &mut all,
                &key("evil", &index.to_string()),
                &index.to_string(),
            );
        }
        assert!(cost(&all) <= NAMESPACE, "{}", cost(&all));
        let (taken, _) = flood(&mut all, &key("shop", "a"), "shop");
        assert!(taken > 0);
    }

    #[test]
    fn however_many_namespaces_are_greedy_those_after_them_have_their_share() {
        const GREEDY: usize = 12;
        let mut all = Expressions::of_namespaces(GREEDY + 1);
        for namespace in 0..GREEDY {
            for index in 0..2 {
                let object = key(&format!("evil-{namespace}"), &index.to_string());
                flood(&mut all, &object, &format!("{namespace}-{index}"));
            }
        }
        assert!(cost(&all) <= ALL, "{}", cost(&all));
        assert!(all.beyond.cost > 0, "they took what nobody needed");
        for index in 0..4 {
            let source = format!("/api/v[0-9]+/{index}/.*");
            all.pattern(&key("shop", "a"), true, &source).unwrap();
        }
        let (taken, _) = flood(&mut all, &key("shop", "b"), "shop");
        assert!(taken > 0);
        assert!(cost(&all) <= ALL, "{}", cost(&all));
    }

    #[test]
    fn equal_expressions_cost_once() {
        let mut all = Expressions::of_namespaces(1);
        for index in 0..1000 {
            let object = key("shop", &index.to_string());
            all.pattern(&object, true, r"\pL{24}").unwrap();
        }
        assert_eq!(all.of_namespace["shop"].expressions.len(), 1);
        assert!(cost(&all) < OBJECT);
    }
}
