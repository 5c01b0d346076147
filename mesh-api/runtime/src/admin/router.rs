//! Which path is answered by what, and a way out for every path that is not.

use std::fmt;
use std::fmt::Write as _;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use http::{HeaderValue, Method, StatusCode, header};

use super::message::{AdminRequest, AdminResponse};

/// What a route returns.
pub type AdminFuture = Pin<Box<dyn Future<Output = AdminResponse> + Send>>;

/// A mounted route's function.
pub type Respond = Arc<dyn Fn(AdminRequest) -> AdminFuture + Send + Sync>;

/// The routes of one listener. An exact path wins over a prefix, a longer prefix over a
/// shorter one. `/` lists all routes unless something is mounted there.
#[derive(Clone)]
pub struct Router {
    title: String,
    routes: Vec<Route>,
    /// Paths that begin with one of these are for this machine, or this pod, alone; and how to ask
    /// from there.
    local: Vec<(&'static str, &'static str)>,
}

#[derive(Clone)]
struct Route {
    method: Method,
    path: String,
    prefix: bool,
    help: &'static str,
    respond: Respond,
}

impl Router {
    /// No routes yet; `title` heads the index page.
    pub fn new(title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            routes: Vec::new(),
            local: Vec::new(),
        }
    }

    /// Answers GET (and HEAD) at exactly `path`.
    #[must_use]
    pub fn get<F, R>(self, path: &str, help: &'static str, respond: F) -> Self
    where
        F: Fn(AdminRequest) -> R + Send + Sync + 'static,
        R: Future<Output = AdminResponse> + Send + 'static,
    {
        self.mount(Method::GET, path, false, (help, erase(respond)))
    }

    /// Answers GET (and HEAD) at every path that begins with `path`.
    #[must_use]
    pub fn subtree<F, R>(self, path: &str, help: &'static str, respond: F) -> Self
    where
        F: Fn(AdminRequest) -> R + Send + Sync + 'static,
        R: Future<Output = AdminResponse> + Send + 'static,
    {
        self.mount(Method::GET, path, true, (help, erase(respond)))
    }

    /// Answers POST at exactly `path`.
    #[must_use]
    pub fn post<F, R>(self, path: &str, help: &'static str, respond: F) -> Self
    where
        F: Fn(AdminRequest) -> R + Send + Sync + 'static,
        R: Future<Output = AdminResponse> + Send + 'static,
    {
        self.mount(Method::POST, path, false, (help, erase(respond)))
    }

    /// Adds all routes of another router.
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        self.routes.extend(other.routes);
        self.local.extend(other.local);
        self
    }

    /// Answers what begins with `prefix` only to who asks over the loopback: from the same machine
    /// or pod. Everybody else is told `how` to do that.
    #[must_use]
    pub fn local_only(mut self, prefix: &'static str, how: &'static str) -> Self {
        self.local.push((prefix, how));
        self
    }

    fn mount(
        mut self,
        method: Method,
        path: &str,
        prefix: bool,
        (help, respond): (&'static str, Respond),
    ) -> Self {
        self.routes.push(Route {
            method,
            path: path.to_owned(),
            prefix,
            help,
            respond,
        });
        self
    }

    /// Answers one request.
    pub async fn respond(&self, request: AdminRequest) -> AdminResponse {
        let method = match *request.method() {
            // The server sends the head alone.
            Method::HEAD => Method::GET,
            ref other => other.clone(),
        };
        let path = request.path();
        let local = self
            .local
            .iter()
            .find(|(prefix, _)| path.starts_with(prefix));
        if let Some((_, how)) = local.filter(|_| !request.is_from_here()) {
            return AdminResponse::error(
                StatusCode::FORBIDDEN,
                format!("answered on this machine only; use {how}"),
            );
        }
        let matching: Vec<&Route> = self
            .routes
            .iter()
            .filter(|route| route.matches(path))
            .collect();
        let chosen = matching
            .iter()
            .filter(|route| route.method == method)
            .max_by_key(|route| (!route.prefix, route.path.len()));
        if let Some(route) = chosen {
            return (route.respond)(request).await;
        }
        if !matching.is_empty() {
            return method_not_allowed(&matching);
        }
        if path == "/" && method == Method::GET {
            return AdminResponse::text(self.index());
        }
        AdminResponse::error(StatusCode::NOT_FOUND, self.not_found(path))
    }

    fn index(&self) -> String {
        let mut page = format!("{}\n\n", self.title);
        let width = self
            .routes
            .iter()
            .map(|route| route.shown().len())
            .max()
            .unwrap_or(0);
        let mut routes: Vec<&Route> = self.routes.iter().collect();
        routes.sort_by(|left, right| left.path.cmp(&right.path));
        for route in routes {
            // Writing to a String cannot fail.
            let _written = writeln!(
                page,
                "{:4} {:width$}  {}",
                route.method,
                route.shown(),
                route.help
            );
        }
        page
    }

    fn not_found(&self, path: &str) -> String {
        let mut near: Vec<(f64, String)> = self
            .routes
            .iter()
            .map(|route| (strsim::jaro_winkler(path, &route.path), route.shown()))
            .filter(|(likeness, _)| *likeness > 0.7)
            .collect();
        near.sort_by(|left, right| {
            right
                .0
                .total_cmp(&left.0)
                .then_with(|| left.1.cmp(&right.1))
        });
        near.dedup_by(|left, right| left.1 == right.1);
        let near: Vec<String> = near.into_iter().take(3).map(|(_, shown)| shown).collect();
        if near.is_empty() {
            format!("no such path: {path}; GET / lists what there is")
        } else {
            format!(
                "no such path: {path}; did you mean {}? GET / lists all",
                near.join(" or ")
            )
        }
    }
}

impl fmt::Debug for Router {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let paths: Vec<String> = self.routes.iter().map(Route::shown).collect();
        formatter
            .debug_struct("Router")
            .field("title", &self.title)
            .field("paths", &paths)
            .field("local", &self.local)
            .finish()
    }
}

impl Route {
    fn matches(&self, path: &str) -> bool {
        if self.prefix {
            path.starts_with(&self.path)
        } else {
            path == self.path
        }
    }

    fn shown(&self) -> String {
        if self.prefix {
            format!("{}…", self.path)
        } else {
            self.path.clone()
        }
    }
}

fn erase<F, R>(respond: F) -> Respond
where
    F: Fn(AdminRequest) -> R + Send + Sync + 'static,
    R: Future<Output = AdminResponse> + Send + 'static,
{
    Arc::new(move |request| Box::pin(respond(request)))
}

fn method_not_allowed(matching: &[&Route]) -> AdminResponse {
    let mut methods: Vec<&str> = matching.iter().map(|route| route.method.as_str()).collect();
    methods.sort_unstable();
    methods.dedup();
    let allowed = methods.join(", ");
    let answer = AdminResponse::error(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("this path answers only {allowed}"),
    );
    match HeaderValue::from_str(&allowed) {
        Ok(value) => answer.with_header(header::ALLOW, value),
        // Method names are tokens, so this cannot be; the body says it anyway.
        Err(_not_a_header) => answer,
    }
}
