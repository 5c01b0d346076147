//! The tables: one fault per line, then `=>`, then the beginnings of all that is said about it.

pub(super) const VIRTUAL_SERVICES: &str = r#"
hosts: [a] => error: spec: has no routes
hosts: ['*'], $HTTP => error: spec.hosts[0]: a bare * is not allowed here
hosts: ['a b'], $HTTP => error: spec.hosts[0]: "a b" is not a host name
hosts: ['http://a'], $HTTP => error: spec.hosts[0]: "http://a" is not a host name
hosts: ['a.*.b'], $HTTP => error: spec.hosts[0]: "a.*.b" has a wildcard in the wrong
hosts: [a.b.c, '*.b.c'], $HTTP => error: spec.hosts[1]: "*.b.c" overlaps with "a.b.c"
hosts: [A, a], $HTTP => error: spec.hosts[1]: "a" overlaps with "A"
hosts: [a], gateways: ['x y'], $HTTP => error: spec.gateways[0]: "x y" is not the name
hosts: [a], exportTo: ['*', b], $HTTP => error: spec.exportTo[0]: * must stand alone
hosts: [a], exportTo: [b, b], $HTTP => error: spec.exportTo[1]: "b" is listed twice
gateways: [x], $HTTP => error: spec.hosts: is empty, which makes this a delegate
http: [{delegate: {name: b}}] => error: spec.http[0].delegate: a delegate cannot
hosts: [a], http: [{$ROUTE}, {$ROUTE}] => warning: spec.http: route 0 has no match
hosts: [a], tls: [{$ROUTE}] => error: spec.tls[0].match: is required
hosts: [a], tls: [{match: [{sniHosts: [b]}], $ROUTE}] => error: spec.tls[0].match[0].sniHosts[0]: "b" is not covered by hosts
hosts: [a], tcp: [{match: [{port: 1}]}] => error: spec.tcp[0].route: is required
hosts: [a], tcp: [{match: [{destinationSubnets: [x]}], $ROUTE}] => error: spec.tcp[0].match[0].destinationSubnets[0]: "x" is neither
"#;

pub(super) const HTTP_ACTIONS: &str = r#"
name: x => error: spec.http[0]: says nothing about what to do; add one of route
redirect: {uri: /}, route: [{destination: {host: a}}] => error: spec.http[0]: says several things to do
redirect: {uri: /}, rewrite: {uri: /} => error: spec.http[0].rewrite: has no meaning beside redirect
directResponse: {status: 200}, fault: {delay: {fixedDelay: 1s, percentage: {value: 1}}} => error: spec.http[0].fault: has no meaning beside directResponse
route: [{destination: {host: a}, weight: 0}, {destination: {host: b}}] => error: spec.http[0].route: all weights are 0
route: [{destination: {host: a}, weight: 0}] =>
route: [{destination: {host: '*.a'}}] => error: spec.http[0].route[0].destination.host: "*.a" has a wildcard
route: [{destination: {host: a, port: {number: 0}}}] => error: spec.http[0].route[0].destination.port.number: 0 is not a port
route: [{destination: {host: a, subset: 'v 1'}}] => error: spec.http[0].route[0].destination.subset: "v 1" is not a legal name
redirect: {} => error: spec.http[0].redirect: is empty
redirect: {uri: /, prefixRewrite: /} => error: spec.http[0].redirect: has both uri and prefixRewrite && error: spec.http[0].redirect.prefixRewrite: needs a match by uri prefix
redirect: {port: 1, derivePort: FROM_REQUEST_PORT} => error: spec.http[0].redirect: has both port and derivePort
redirect: {scheme: ftp} => error: spec.http[0].redirect.scheme: "ftp" is not a scheme
redirect: {uri: /, redirectCode: 304} => error: spec.http[0].redirect.redirectCode: 304 is not
directResponse: {status: 99} => error: spec.http[0].directResponse.status: 99 is not a status
directResponse: {status: 200, body: {string: a, bytes: YQ==}} => error: spec.http[0].directResponse.body: has both
delegate: {namespace: b} => error: spec.http[0].delegate.name: is required
"#;

pub(super) const HTTP_EXTRAS: &str = r#"
rewrite: {} => error: spec.http[0].rewrite: is empty
rewrite: {uri: /, uriRegexRewrite: {match: a, rewrite: b}} => error: spec.http[0].rewrite: has both uri
rewrite: {uriRegexRewrite: {match: '(', rewrite: b}} => error: spec.http[0].rewrite.uriRegexRewrite.match: "(" is not a regular expression
rewrite: {uriRegexRewrite: {match: a}} => error: spec.http[0].rewrite.uriRegexRewrite.rewrite: is required
rewrite: {authority: b}, headers: {request: {set: {Host: c}}} => error: spec.http[0].headers: sets the authority
mirror: {host: b}, mirrors: [{destination: {host: c}}] => error: spec.http[0].mirror: cannot stand beside mirrors
corsPolicy: {maxAge: 1.5s} => error: spec.http[0].corsPolicy.maxAge: 1500ms is not a whole
corsPolicy: {allowOrigin: [a]} => warning: spec.http[0].corsPolicy.allowOrigin: is deprecated
corsPolicy: {allowMethods: ['G ET']} => error: spec.http[0].corsPolicy.allowMethods[0]: "G ET" is not
headers: {request: {set: {"x y": a}}} => error: spec.http[0].headers.request.set["x y"]: "x y" is not the name
headers: {request: {set: {x: "a\r\nb"}}} => error: spec.http[0].headers.request.set.x: the value contains a line break
headers: {response: {set: {host: a}}} => error: spec.http[0].headers.response.set.host: a response has no host
headers: {request: {set: {content-length: "17"}}} => error: spec.http[0].headers.request.set.content-length: "content-length" cannot be edited: it says where the message ends
headers: {request: {add: {Transfer_Encoding: chunked}}} => error: spec.http[0].headers.request.add.Transfer_Encoding: "Transfer_Encoding" cannot be edited
headers: {response: {set: {Connection: close}}} => error: spec.http[0].headers.response.set.Connection: "Connection" cannot be edited: it concerns a single connection
headers: {response: {remove: [Keep-Alive, x-a, trailer]}} => error: spec.http[0].headers.response.remove[0]: "Keep-Alive" cannot && error: spec.http[0].headers.response.remove[2]: "trailer" cannot
rewrite: {uri: '/a?b=c'} => warning: spec.http[0].rewrite.uri: changes the path only
rewrite: {uriRegexRewrite: {match: a, rewrite: 'b#c'}} => warning: spec.http[0].rewrite.uriRegexRewrite.rewrite: changes the path only
headers: {request: {set: {":path": a}}} => warning: spec.http[0].headers.request.set[":path"]: cannot be changed
headers: {request: {remove: [host]}} => warning: spec.http[0].headers.request.remove[0]: cannot be removed
mirror: {host: b}, mirrorPercent: 5 => warning: spec.http[0].mirrorPercent: is deprecated
"#;

pub(super) const RETRIES_AND_FAULTS: &str = r#"
retries: {perTryTimeout: 1s} => error: spec.http[0].retries.attempts: is 0 or missing, which turns retries off, but perTryTimeout is set
retries: {attempts: 0, retryOn: 5xx} => error: spec.http[0].retries.attempts: is 0 or missing
retries: {retryRemoteLocalities: true} => error: spec.http[0].retries.attempts: is 0 or missing
retries: {attempts: 1, retryOn: '5xx, reset'} => error: spec.http[0].retries.retryOn: has a space around "reset"
retries: {attempts: 1, retryOn: fxx} => error: spec.http[0].retries.retryOn: "fxx" is not a condition
retries: {attempts: 1, retryOn: '999'} => error: spec.http[0].retries.retryOn: "999" is not a condition
fault: {} => error: spec.http[0].fault: is empty
fault: {delay: {percentage: {value: 1}}} => error: spec.http[0].fault.delay.fixedDelay: is required
fault: {delay: {exponentialDelay: 1s, percentage: {value: 1}}} => error: spec.http[0].fault.delay.exponentialDelay: is not implemented
fault: {delay: {fixedDelay: 1s}} => warning: spec.http[0].fault.delay: has no percentage
fault: {delay: {fixedDelay: 1s, percent: 5}} => warning: spec.http[0].fault.delay.percent: is deprecated
fault: {abort: {percentage: {value: 1}}} => error: spec.http[0].fault.abort: needs exactly one
fault: {abort: {httpStatus: 600, percentage: {value: 1}}} => error: spec.http[0].fault.abort.httpStatus: 600 is not
fault: {abort: {grpcStatus: Unavailable, percentage: {value: 1}}} => error: spec.http[0].fault.abort.grpcStatus: "Unavailable"
"#;

pub(super) const MATCHES: &str = r#"
uri: {} => error: spec.http[0].match[0].uri: nothing to compare with
method: {prefix: ''} => error: spec.http[0].match[0].method.prefix: is empty
uri: {regex: '['} => error: spec.http[0].match[0].uri.regex: "[" is not a regular expression
uri: {regex: 'a{1000}{1000}'} => error: spec.http[0].match[0].uri.regex:
uri: {regex: a}, ignoreUriCase: true => warning: spec.http[0].match[0].ignoreUriCase: has no effect
headers: {'x y': {exact: a}} => error: spec.http[0].match[0].headers["x y"]: "x y" is not the name
headers: {':authority': {exact: a}, ':path': {prefix: /}}, withoutHeaders: {':method': {exact: GET}} =>
headers: {':status': {exact: '200'}} => error: spec.http[0].match[0].headers[":status"]: ":status" is not the name
headers: {uri: {exact: a}} => warning: spec.http[0].match[0].headers.uri: is not a header
sourceLabels: {a: 'v*'} => error: spec.http[0].match[0].sourceLabels.a: labels are compared exactly
"#;

pub(super) const TRAFFIC_POLICIES: &str = r#"
connectionPool: {} => error: spec.trafficPolicy.connectionPool: is empty
connectionPool: {http: {h2UpgradePolicy: UPGRADE, useClientProtocol: true}} => error: spec.trafficPolicy.connectionPool.http: h2UpgradePolicy
connectionPool: {http: {http2KeepAlive: {interval: 1s}}} => error: spec.trafficPolicy.connectionPool.http.http2KeepAlive.timeout: is required
outlierDetection: {consecutiveLocalOriginFailures: 1} => error: spec.trafficPolicy.outlierDetection.consecutiveLocalOriginFailures: only counts with
outlierDetection: {maxEjectionPercent: 101} => error: spec.trafficPolicy.outlierDetection.maxEjectionPercent: 101
outlierDetection: {consecutiveErrors: 5} => warning: spec.trafficPolicy.outlierDetection.consecutiveErrors: is deprecated
outlierDetection: {consecutive5xxErrors: 3, consecutiveGatewayErrors: 3} => warning: spec.trafficPolicy.outlierDetection.consecutiveGatewayErrors: has no effect
loadBalancer: {simple: RANDOM, consistentHash: {useSourceIp: true}} => error: spec.trafficPolicy.loadBalancer: has both simple
loadBalancer: {simple: LEAST_CONN} => warning: spec.trafficPolicy.loadBalancer.simple: LEAST_CONN is deprecated
loadBalancer: {simple: RANDM} => error: spec.trafficPolicy.loadBalancer.simple: "RANDM" is not a legal value; did you mean RANDOM?
loadBalancer: {consistentHash: {}} => error: spec.trafficPolicy.loadBalancer.consistentHash: needs exactly one key
loadBalancer: {consistentHash: {useSourceIp: true, maglev: {tableSize: 65536}}} => error: spec.trafficPolicy.loadBalancer.consistentHash.maglev.tableSize: 65536 is not a prime
loadBalancer: {consistentHash: {useSourceIp: true, maglev: {}}} => error: spec.trafficPolicy.loadBalancer.consistentHash.maglev.tableSize: is required
loadBalancer: {simple: RANDOM, warmup: {duration: 1s}} => error: spec.trafficPolicy.loadBalancer.warmup: only works with
loadBalancer: {localityLbSetting: {distribute: [{from: a, to: {b: 99}}]}} => error: spec.trafficPolicy.loadBalancer.localityLbSetting.distribute[0].to: the shares add up to 99
tls: {mode: MUTUAL} => error: spec.trafficPolicy.tls: MUTUAL needs a client certificate
tls: {mode: ISTIO_MUTUAL, privateKey: /k} => error: spec.trafficPolicy.tls: ISTIO_MUTUAL uses the identity
tls: {sni: a} => warning: spec.trafficPolicy.tls: the mode is DISABLE
portLevelSettings: [{port: {number: 1}}, {port: {number: 1}}] => error: spec.trafficPolicy.portLevelSettings[1].port.number: 1 is listed twice
portLevelSettings: [{}] => error: spec.trafficPolicy.portLevelSettings[0].port: is required
retryBudget: {percent: 200} => error: spec.trafficPolicy.retryBudget.percent: 200 is not between
tunnel: {targetHost: a, targetPort: 0} => error: spec.trafficPolicy.tunnel.targetPort: 0 is not a port
"#;

pub(super) const DESTINATION_RULES: &str = r#"
{} => error: spec.host: is required
{host: ''} => error: spec.host: is empty
{host: a, subsets: [{name: v1}, {name: v1}]} => error: spec.subsets[1].name: "v1" is used twice
{host: a, subsets: [{name: v_1}]} => error: spec.subsets[0].name: "v_1" is not a legal name
{host: a, trafficPolicy: {outlierDetection: {}, tls: {}}} =>
"#;

pub(super) const GATEWAYS: &str = r#"
{} => error: spec.servers: needs at least one entry
{servers: [{port: {number: 80, name: a, protocol: HTP}, hosts: ['*']}]} => error: spec.servers[0].port.protocol: "HTP"
{servers: [{port: {number: 443, name: a, protocol: HTTPS}, hosts: ['*']}]} => error: spec.servers[0].tls: the port speaks HTTPS
{servers: [{port: {number: 443, name: a, protocol: HTTPS}, hosts: ['*'], tls: {mode: SIMPLE}}]} => error: spec.servers[0].tls: this mode needs a certificate
{servers: [{port: {number: 80, name: a, protocol: HTTP}, hosts: ['*'], tls: {mode: SIMPLE}}]} => error: spec.servers[0].tls: protocol HTTP does not do TLS
{servers: [{port: {number: 443, name: a, protocol: HTTPS}, hosts: ['*'], tls: {credentialName: c}}]} => warning: spec.servers[0].tls: TLS is passed through
{servers: [{port: {number: 80, name: a, protocol: HTTP}, hosts: []}]} => error: spec.servers[0].hosts: is required
{servers: [{port: {number: 443, name: a, protocol: HTTPS}, hosts: ['*'], tls: {mode: SIMPLE, credentialName: c, httpsRedirect: true}}]} => warning: spec.servers[0].tls: httpsRedirect has no effect
{servers: [{port: {number: 443, name: a, protocol: HTTPS}, hosts: ['*'], tls: {mode: SIMPLE, credentialName: c, tlsCertificates: [{}]}}]} => error: spec.servers[0].tls: has both tlsCertificates
{servers: [{port: {number: 80, name: a, protocol: HTTP}, hosts: ['*-blue.a.b', 'shop/*x.b']}]} =>
"#;

pub(super) const SERVICE_ENTRIES: &str = r#"
{hosts: []} => error: spec.hosts: needs 1 to 256 entries, has 0
{hosts: ['*']} => error: spec.hosts[0]: a bare *
{hosts: ['*x']} =>
{hosts: ['*-x.a.b', '*.a.b']} =>
{hosts: ['*.']} => error: spec.hosts[0]: "*." is not a host name
{hosts: ['**.a']} => error: spec.hosts[0]: "**.a" has a wildcard in the wrong
{hosts: [a.b], resolution: STATIC, workloadSelector: {}} => warning: spec.workloadSelector: has no labels
{hosts: [a.b], workloadSelector: {}} => warning: spec.workloadSelector: has no effect with this resolution
{hosts: [a.b], resolution: DNS, addresses: [10.0.0.0/8]} => error: spec.addresses[0]: "10.0.0.0/8" is a block
{hosts: [a.b], resolution: DNS_ROUND_ROBIN, addresses: [10.0.0.0/8]} => error: spec.addresses[0]: "10.0.0.0/8" is a block
{hosts: [a.b], resolution: DNS, addresses: [10.0.0.1]} =>
{hosts: [a.b], addresses: [10.0.0.0/8]} =>
{hosts: [a.b], resolution: DNS_ROUND_ROBIN, endpoints: [{address: a.c}, {address: a.d}]} => error: spec.endpoints: DNS_ROUND_ROBIN looks up one
{hosts: [a.b], resolution: DNS_ROUND_ROBIN, endpoints: [{address: a.c}]} =>
{hosts: [a.b], resolution: STATIC} => error: spec.resolution: STATIC needs endpoints
{hosts: ['*.b'], resolution: DNS} => error: spec.hosts[0]: "*.b" cannot be looked up
{hosts: [a.b], endpoints: [{address: 1.2.3.4}]} => error: spec.endpoints: have no meaning
{hosts: [a.b], resolution: STATIC, endpoints: [{address: c.d}]} => error: spec.endpoints[0].address: "c.d" is not an IP
{hosts: [a.b], ports: [{number: 1, name: x}, {number: 1, name: x}]} => error: spec.ports[1].number: 1 is listed twice && error: spec.ports[1].name: "x" is used twice
{hosts: [a.b], ports: [{number: 1, name: x, protocol: TCP}]} => warning: spec.ports[0]: without addresses a TCP port
"#;

pub(super) const SIDECARS: &str = r#"
{} => error: spec: is empty
{egress: [{hosts: [a]}]} => error: spec.egress[0].hosts[0]: "a" has no namespace
{egress: [{hosts: ['*/*']}, {port: {number: 1}, hosts: ['*/*']}]} => error: spec.egress: entry 0 has no port
{ingress: [{port: {number: 1}, defaultEndpoint: '10.0.0.1:80'}]} => error: spec.ingress[0].defaultEndpoint: "10.0.0.1:80"
{ingress: [{port: {number: 1}, defaultEndpoint: '127.0.0.1:15000'}]} => error: spec.ingress[0].defaultEndpoint: 15000 is a port the proxy keeps
{ingress: [{port: {number: 1}, defaultEndpoint: '[::1]:15021'}]} => error: spec.ingress[0].defaultEndpoint: 15021 is a port the proxy keeps
{ingress: [{port: {number: 1}, defaultEndpoint: '0.0.0.0:15090'}]} => error: spec.ingress[0].defaultEndpoint: 15090 is a port the proxy keeps
{ingress: [{port: {number: 1}, defaultEndpoint: '127.0.0.1:8080'}]} =>
{ingress: [{port: {number: 1}, defaultEndpoint: 'unix:///run/'}]} => error: spec.ingress[0].defaultEndpoint: "unix:///run/"
{outboundTrafficPolicy: {}} =>
"#;

pub(super) const WORKLOAD_ENTRIES: &str = r#"
{} => error: spec.address: is required
{address: 'unix:///a', ports: {x: 1}} => error: spec.address: a socket path has no ports
{address: 'unix:///run/'} => error: spec.address: "unix:///run/" is a directory
{address: 'unix:///run/a'} =>
{address: 1.2.3.4, ports: {x: 0}} => error: spec.ports.x: 0 is not a port
{address: 1.2.3.4, locality: a//b} => error: spec.locality: "a//b"
"#;

pub(super) const PEER_AUTHENTICATIONS: &str = r#"
{portLevelMtls: {80: {mode: STRICT}}} => error: spec.portLevelMtls: needs a selector
{selector: {matchLabels: {a: b}}, portLevelMtls: {}} => error: spec.portLevelMtls: is empty
{selector: {matchLabels: {a: b}}, portLevelMtls: {0: {mode: STRICT}}} => error: spec.portLevelMtls: 0 is not a port
{mtls: {mode: STRIKT}} => error: spec.mtls.mode: "STRIKT" is not a legal value; did you mean STRICT?
{selector: {matchLabels: {a: b}}, portLevelMtls: {http: {mode: STRICT}}} => error: spec.portLevelMtls
"#;

pub(super) const REQUEST_AUTHENTICATIONS: &str = r#"
{jwtRules: [{}]} => error: spec.jwtRules[0].issuer: is required
{jwtRules: [{issuer: a, jwks: '{}', jwksUri: 'https://b'}]} => error: spec.jwtRules[0]: has both && error: spec.jwtRules[0].jwks: is not a set of keys
{jwtRules: [{issuer: a, jwksUri: b}]} => error: spec.jwtRules[0].jwksUri: "b" is not a URL
{jwtRules: [{issuer: a, spaceDelimitedClaims: [scope, '']}]} => error: spec.jwtRules[0].spaceDelimitedClaims[1]: is empty
{jwtRules: [{issuer: a, outputClaimToHeaders: [{header: 'x!y', claim: c}]}]} => error: spec.jwtRules[0].outputClaimToHeaders[0].header: "x!y" is not
{targetRef: {kind: Service, name: a}, targetRefs: [{kind: Service, name: a}]} => warning: spec.targetRef: is deprecated && error: spec.targetRef: cannot stand beside
{targetRef: {kind: Nonsense, name: a}} => warning: spec.targetRef: is deprecated && error: spec.targetRef: "Nonsense" of group "" cannot be a target
{targetRefs: [{kind: Service, name: a, namespace: b}]} => error: spec.targetRefs[0].namespace: only objects of the same namespace
{targetRefs: [{kind: Service, name: ''}]} => error: spec.targetRefs[0].name: is required
{jwtRules: [{issuer: a, jwks: '{"keys": [{"d": 1}]}'}]} => warning: spec.jwtRules[0].jwks: contains a private key
"#;

pub(super) const AUTHORIZATION_POLICIES: &str = r#"
{} =>
{action: DENY} => error: spec.rules: is required
{action: CUSTOM, rules: [{}]} => error: spec.provider: is required
{provider: {name: x}} => error: spec.provider: only has a meaning
{rules: [{from: [{}]}]} => error: spec.rules[0].from[0].source: is empty
{rules: [{to: [{operation: {}}]}]} => error: spec.rules[0].to[0].operation: is empty
{rules: [{from: [{source: {principals: ['spiffe://a']}}]}]} => error: spec.rules[0].from[0].source.principals[0]: never matches
{rules: [{from: [{source: {serviceAccounts: [a], namespaces: [b]}}]}]} => error: spec.rules[0].from[0].source: serviceAccounts cannot
{rules: [{from: [{source: {ipBlocks: [x]}}]}]} => error: spec.rules[0].from[0].source.ipBlocks[0]
{rules: [{to: [{operation: {ports: ['0']}}]}]} => error: spec.rules[0].to[0].operation.ports[0]: "0" is not a port
{rules: [{to: [{operation: {paths: ['/a/{**}/b', '/{*}/{**}', '/{**}.txt/x']}}]}]} => error: spec.rules[0].to[0].operation.paths[2]
{rules: [{to: [{operation: {paths: ['/{**}/{*}']}}]}]} => error: spec.rules[0].to[0].operation.paths[0]
{rules: [{to: [{operation: {paths: ['/{**}/a/{**}']}}]}]} => error: spec.rules[0].to[0].operation.paths[0]
{rules: [{to: [{operation: {notPaths: ['a/{*}']}}]}]} => warning: spec.rules[0].to[0].operation.notPaths[0]: "a/{*}" matches no request
{targetRefs: [{group: x.y, kind: Thing, name: a}]} => error: spec.targetRefs[0]: "Thing" of group "x.y" cannot be a target
{rules: [{when: [{key: request.header}]}]} => error: spec.rules[0].when[0]: has neither && error: spec.rules[0].when[0].key: "request.header"
{action: DENY, rules: [{to: [{operation: {methods: [POST]}}]}]} => warning: spec.rules[0].to[0].operation: denies every connection
{rules: [{from: null}]} => error: spec.rules[0].from: expected a list, found nothing (null)
{selector: {matchLabels: {a: b}}, targetRefs: [{kind: Service, name: a}]} => error: spec.selector: cannot stand beside
"#;

pub(super) const TELEMETRIES: &str = r"
{tracing: [{randomSamplingPercentage: 101}]} => error: spec.tracing[0].randomSamplingPercentage: 101
{tracing: [{customTags: {a: {literal: {value: ''}}}}]} => error: spec.tracing[0].customTags.a.literal.value: is required
{tracing: [{customTags: {a: {}}}]} => error: spec.tracing[0].customTags.a: needs exactly one
{metrics: [{overrides: [{tagOverrides: {a: {operation: UPSERT}}}]}]} => error: spec.metrics[0].overrides[0].tagOverrides.a: UPSERT needs
{metrics: [{overrides: [{tagOverrides: {a: {operation: REMOVE, value: b}}}]}]} => error: spec.metrics[0].overrides[0].tagOverrides.a: REMOVE takes
{accessLogging: [{filter: {}}]} => error: spec.accessLogging[0].filter.expression: is required
";

pub(super) const WORKLOAD_GROUPS: &str = r#"
{} => error: spec.template: is required
{template: {}} =>
{template: {address: 10.0.0.1}} => error: spec.template.address: is that of each workload
{template: {}, probe: {}} => error: spec.probe: needs exactly one way to ask
{template: {}, probe: {httpGet: {port: 1, scheme: HTTPS, httpHeaders: [{name: x-a, value: b}]}}} =>
{template: {}, probe: {httpGet: {port: 1, httpHeaders: [{name: 'x a', value: b}, {name: '', value: b}]}}} => error: spec.probe.httpGet.httpHeaders[0].name: "x a" is not && error: spec.probe.httpGet.httpHeaders[1].name: "" is not
{template: {}, probe: {httpGet: {port: 1, scheme: ftp}}} => error: spec.probe.httpGet.scheme: "ftp" is not a scheme
{template: {}, probe: {grpc: {port: 0}}} => error: spec.probe.grpc.port: 0 is not a port
{template: {}, probe: {exec: {command: [a, '']}}} => error: spec.probe.exec.command[1]: is empty
{template: {}, probe: {httpGet: {port: 0}, tcpSocket: {port: 1}}} => error: spec.probe: needs exactly one && error: spec.probe.httpGet.port: 0 is not a port
"#;

pub(super) const PROXY_CONFIGS: &str = r"
{} =>
{concurrency: -1} => error: spec.concurrency: is less than 0
{image: {imageTyp: debug}} => error: spec.image.imageTyp: unknown field; did you mean
";

pub(super) const ENVOY_FILTERS: &str = r#"
{configPatches: [{patch: {operation: ADD}}]} => error: spec.configPatches[0].applyTo: is required
{configPatches: [{applyTo: CLUSTER}]} => error: spec.configPatches[0].patch: is required
{configPatches: [{applyTo: CLUSTER, patch: {}}]} => error: spec.configPatches[0].patch.operation: is required
{configPatches: [{applyTo: CLUSTR, patch: {}}]} => error: spec.configPatches[0].applyTo: "CLUSTR" is not a legal value; did you mean CLUSTER?
{configPatches: [{applyTo: CLUSTER, match: {cluster: {}, listener: {}}, patch: {operation: ADD, value: {any: 1}}}]} => error: spec.configPatches[0].match: names several places
{workloadSelector: {labels: {a: b}}, targetRefs: [{kind: Service, name: a}]} => error: spec.workloadSelector: cannot stand beside
"#;

pub(super) const WASM_PLUGINS: &str = r#"
{} => error: spec.url: is required
{url: ''} => error: spec.url: is required
{url: registry.example.com/a} =>
{url: 'ftp://a'} => error: spec.url: "ftp" is not a scheme
{url: a, sha256: abc} => error: spec.sha256: is not a digest
{url: a, vmConfig: {env: [{name: A, valueFrom: HOST, value: b}]}} => error: spec.vmConfig.env[0].value: is not used
{url: a, match: [{ports: [{number: 0}]}]} => error: spec.match[0].ports[0].number: 0 is not a port
"#;

pub(super) const TRAFFIC_EXTENSIONS: &str = r"
{} => error: spec: needs exactly one extension
{wasm: {url: a}, lua: {inlineCode: b}} => error: spec: needs exactly one extension
{lua: {inlineCode: ''}} => error: spec.lua.inlineCode: is required
{wasm: {url: 'x://a'}} => error: spec.wasm.url
";
