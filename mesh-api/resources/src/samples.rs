//! One body per kind that uses every field of the kind which may stand together.

use crate::Kind;

/// The `spec` of an object of the kind, as YAML below its metadata.
pub fn of(kind: Kind) -> &'static str {
    match kind {
        Kind::VirtualService => VIRTUAL_SERVICE,
        Kind::DestinationRule => DESTINATION_RULE,
        Kind::Gateway => GATEWAY,
        Kind::ServiceEntry => SERVICE_ENTRY,
        Kind::Sidecar => SIDECAR,
        Kind::WorkloadEntry => WORKLOAD_ENTRY,
        Kind::WorkloadGroup => WORKLOAD_GROUP,
        Kind::ProxyConfig => PROXY_CONFIG,
        Kind::EnvoyFilter => ENVOY_FILTER,
        Kind::PeerAuthentication => PEER_AUTHENTICATION,
        Kind::RequestAuthentication => REQUEST_AUTHENTICATION,
        Kind::AuthorizationPolicy => AUTHORIZATION_POLICY,
        Kind::Telemetry => TELEMETRY,
        Kind::WasmPlugin => WASM_PLUGIN,
        Kind::TrafficExtension => TRAFFIC_EXTENSION,
        Kind::Service => "spec: {ports: [{name: http, port: 80}], selector: {app: a}}",
        Kind::EndpointSlice => {
            "addressType: IPv4\nendpoints: [{addresses: [10.0.0.1]}]\nports: [{port: 80}]"
        }
        Kind::Pod => "spec: {containers: [{name: a, image: b}]}\nstatus: {podIP: 10.0.0.1}",
        Kind::Namespace => "spec: {}",
        Kind::Node => "spec: {podCIDR: 10.0.0.0/24}",
    }
}

const VIRTUAL_SERVICE: &str = r#"
status: {validationMessages: [anything]}
spec:
  hosts: [web.shop.svc.cluster.local, "*.example.com"]
  gateways: [mesh, edge, infra/public]
  exportTo: [".", other]
  http:
  - name: main
    match:
    - name: one
      uri: {prefix: /shop}
      ignoreUriCase: true
      scheme: {exact: https}
      method: {regex: "GET|HEAD"}
      authority: {prefix: www}
      headers: {x-a: {exact: b}, x-c: {regex: "*"}, "@request.auth.claims.groups": {exact: dev}}
      withoutHeaders: {x-bot: {}}
      queryParams: {page: {regex: "[0-9]+"}}
      port: 80
      sourceLabels: {app: front}
      sourceNamespace: shop
      gateways: [mesh]
      statPrefix: shop
    rewrite: {uri: /, authority: other.example.com}
    timeout: 3s
    retries: {attempts: 2, perTryTimeout: 1s, retryOn: "5xx,reset,503", retryRemoteLocalities: true,
      retryIgnorePreviousHosts: false, backoff: 10ms}
    fault:
      delay: {fixedDelay: 5s, percentage: {value: 1}}
      abort: {grpcStatus: UNAVAILABLE, percentage: {value: 0.1}}
    mirrors: [{destination: {host: shadow}, percentage: {value: 5}}]
    corsPolicy:
      allowOrigins: [{exact: "https://a.example"}, {regex: ".*"}]
      allowMethods: [GET]
      allowHeaders: [x-a]
      exposeHeaders: [x-b]
      maxAge: 24h
      allowCredentials: true
      unmatchedPreflights: IGNORE
    headers:
      request: {set: {x-set: "1"}, add: {x-add: "2"}, remove: [x-gone]}
      response: {set: {x-out: "3"}}
    route:
    - destination: {host: web, subset: v1, port: {number: 80}}
      weight: 0
      headers: {response: {add: {x-version: v1}}}
    - destination: {host: web, subset: v2}
      weight: 1
  - match: [{uri: {prefix: /old}}]
    redirect: {prefixRewrite: /new, authority: b.example, scheme: https, derivePort: FROM_REQUEST_PORT, redirectCode: 308}
  - match: [{uri: {exact: /health}}]
    directResponse: {status: 200, body: {bytes: b2s=}}
  - match: [{uri: {prefix: /team}}]
    delegate: {name: team, namespace: team}
  - rewrite: {uriRegexRewrite: {match: "/a/(.*)", rewrite: "/b/\\1"}}
    mirror: {host: shadow}
    mirrorPercentage: {value: 50}
    route: [{destination: {host: web}}]
  tls:
  - match:
    - {sniHosts: [a.example.com], destinationSubnets: [10.0.0.0/8], port: 443, sourceLabels: {a: b}, gateways: [mesh], sourceNamespace: shop}
    route: [{destination: {host: web}, weight: 5}]
  tcp:
  - match:
    - {destinationSubnets: [10.0.0.1], port: 27017, sourceSubnet: 10.0.0.0/8, sourceLabels: {a: b}, gateways: [mesh], sourceNamespace: shop}
    route: [{destination: {host: db}}]
"#;

const DESTINATION_RULE: &str = r"
spec:
  host: web
  exportTo: ['*']
  workloadSelector: {matchLabels: {app: front}}
  trafficPolicy:
    loadBalancer:
      simple: LEAST_REQUEST
      warmup: {duration: 30s, minimumPercent: 5, aggression: 1.5}
      localityLbSetting: {enabled: true, distribute: [{from: eu/*, to: {eu/a: 80, eu/b: 20}}]}
    connectionPool:
      tcp: {maxConnections: 1, connectTimeout: 30ms, maxConnectionDuration: 1h, idleTimeout: 0s,
        tcpKeepalive: {probes: 3, time: 7200s, interval: 75s}}
      http: {http1MaxPendingRequests: 1, http2MaxRequests: 2, maxRequestsPerConnection: 3, maxRetries: 4, idleTimeout: 1h,
        h2UpgradePolicy: UPGRADE, useClientProtocol: false, maxConcurrentStreams: 5, http2KeepAlive: {interval: 1s, timeout: 2s}}
    outlierDetection: {splitExternalLocalOriginErrors: true, consecutiveLocalOriginFailures: 1, consecutiveGatewayErrors: 2,
      consecutive5xxErrors: 3, interval: 1s, baseEjectionTime: 2s, maxEjectionPercent: 50, minHealthPercent: 30,
      outlierDetectionHttpErrorCodes: [500, 429]}
    tls: {mode: MUTUAL, clientCertificate: /c, privateKey: /k, caCertificates: /a, subjectAltNames: [x], sni: db.example,
      insecureSkipVerify: false, caCrl: /r}
    portLevelSettings:
    - port: {number: 80}
      loadBalancer: {consistentHash: {httpCookie: {name: c, path: /, ttl: 0s, attributes: [{name: SameSite, value: Lax}]}, ringHash: {minimumRingSize: 64}}}
      connectionPool: {tcp: {maxConnections: 2}}
      outlierDetection: {}
      tls: {mode: ISTIO_MUTUAL}
    - port: {number: 81}
      loadBalancer: {consistentHash: {useSourceIp: true, maglev: {tableSize: 65537}}, zoneAwareLbSetting: {enabled: true,
        failover: [{from: eu, to: us}], failoverPriority: [zone], minClusterSize: 3}}
    tunnel: {protocol: POST, targetHost: t.example, targetPort: 443}
    proxyProtocol: {version: V2}
    retryBudget: {percent: 10, minRetryConcurrency: 5, budgetInterval: 0s}
  subsets:
  - name: v1
    labels: {version: v1}
    trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN, localityLbSetting: {failover: [{from: eu, to: us}], failoverPriority: [a, b=c]}}}
  - name: v2
    labels: {version: v2}
    trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: x-user}}}
  - name: v3
    trafficPolicy: {loadBalancer: {consistentHash: {httpQueryParameterName: user}}}
";

const GATEWAY: &str = r"
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: 80, name: http, protocol: HTTP}
    bind: 0.0.0.0
    name: web
    hosts: ['*', ./a.example, shop/*.b.example]
    tls: {httpsRedirect: true}
  - port: {number: 443, name: https, protocol: HTTPS}
    hosts: [a.example]
    tls: {mode: MUTUAL, credentialName: cert, caCertCredentialName: ca, subjectAltNames: [x], verifyCertificateSpki: [a],
      verifyCertificateHash: [b], minProtocolVersion: TLSV1_2, maxProtocolVersion: TLSV1_3, cipherSuites: [ECDHE-RSA-AES256-GCM-SHA384],
      insecureSkipVerify: false, caCrl: /crl}
  - port: {number: 8443, name: files, protocol: HTTPS}
    hosts: [b.example]
    tls: {mode: SIMPLE, serverCertificate: /c, privateKey: /k, caCertificates: /a}
  - port: {number: 8444, name: several, protocol: HTTPS}
    hosts: [c.example]
    tls: {mode: SIMPLE, tlsCertificates: [{serverCertificate: /c, privateKey: /k, caCertificates: /a}]}
  - port: {number: 8445, name: pair, protocol: HTTPS}
    hosts: [d.example]
    tls: {mode: SIMPLE, credentialNames: [rsa, ecdsa]}
  - port: {number: 9443, name: pass, protocol: TLS}
    hosts: [e.example]
    tls: {}
";

const SERVICE_ENTRY: &str = r"
spec:
  hosts: [api.example.com]
  addresses: [192.0.2.0/24]
  ports: [{number: 443, name: https, protocol: TLS, targetPort: 8443}, {number: 80, name: any}]
  location: MESH_EXTERNAL
  resolution: STATIC
  endpoints:
  - {address: 192.0.2.1, ports: {https: 9443}, labels: {a: b}, network: n1, locality: eu/a/b, weight: 2, serviceAccount: api}
  exportTo: ['~']
  subjectAltNames: [spiffe://x]
";

const SIDECAR: &str = r"
spec:
  workloadSelector: {labels: {app: a}}
  ingress:
  - port: {number: 9080, protocol: HTTP, name: http}
    bind: 127.0.1.1
    captureMode: NONE
    defaultEndpoint: 127.0.0.1:8080
    tls: {mode: SIMPLE, serverCertificate: /c, privateKey: /k}
    connectionPool: {http: {http1MaxPendingRequests: 1}}
  egress:
  - port: {number: 3306, protocol: MYSQL, name: db}
    bind: 127.0.0.1
    captureMode: NONE
    hosts: [./*]
  - hosts: ['*/api.example.com', '~hidden/*', infra/*]
  inboundConnectionPool: {tcp: {maxConnections: 9}}
  outboundTrafficPolicy: {mode: ALLOW_ANY, egressProxy: {host: egress.infra.svc.cluster.local}}
";

const WORKLOAD_ENTRY: &str = r"
spec: {address: 10.0.0.9, ports: {http: 8080}, labels: {app: a}, network: lan, locality: eu/a, weight: 3, serviceAccount: a}
";

const PEER_AUTHENTICATION: &str = r"
spec: {selector: {matchLabels: {app: a}}, mtls: {mode: STRICT}, portLevelMtls: {8080: {mode: DISABLE}, '9090': {mode: UNSET}}}
";

const REQUEST_AUTHENTICATION: &str = r#"
spec:
  selector: {matchLabels: {app: a}}
  jwtRules:
  - issuer: https://issuer.example
    audiences: [shop]
    jwksUri: https://issuer.example/keys
    fromHeaders: [{name: x-token, prefix: "Bearer "}]
    fromParams: [token]
    fromCookies: [session]
    outputPayloadToHeader: x-payload
    outputClaimToHeaders: [{header: x-sub, claim: sub}]
    forwardOriginalToken: true
    timeout: 2s
    spaceDelimitedClaims: [roles]
  - issuer: other
    jwks: '{"keys": []}'
"#;

const AUTHORIZATION_POLICY: &str = r#"
spec:
  selector: {matchLabels: {app: a}}
  action: ALLOW
  rules:
  - from:
    - source: {principals: [cluster.local/ns/shop/sa/front], notPrincipals: ["*/sa/bad"], requestPrincipals: ["*"],
        notRequestPrincipals: [iss/sub], namespaces: [shop], notNamespaces: [dev], ipBlocks: [10.0.0.0/8], notIpBlocks: [10.1.2.3],
        remoteIpBlocks: [0.0.0.0/0], notRemoteIpBlocks: ["::/0"], trustDomains: [cluster.local], notTrustDomains: [old]}
    - source: {serviceAccounts: [shop/front, back], notServiceAccounts: [x]}
    to:
    - operation: {hosts: ["*.example.com"], notHosts: [a], ports: ["80"], notPorts: ["81"], methods: [GET], notMethods: [POST],
        paths: [/a*, "/b/{*}/c/{**}"], notPaths: ["*/admin"]}
    when:
    - {key: "request.headers[x-a]", values: ["*"], notValues: [b]}
    - {key: source.ip, values: [10.0.0.0/8]}
    - {key: "request.auth.claims[a][b]", values: [c]}
  - {}
"#;

const TELEMETRY: &str = r"
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: g}]
  tracing:
  - match: {mode: SERVER}
    providers: [{name: otel}]
    randomSamplingPercentage: 12.5
    disableSpanReporting: false
    customTags:
      a: {literal: {value: b}}
      c: {environment: {name: D, defaultValue: e}}
      f: {header: {name: x-g, defaultValue: h}}
      i: {formatter: {value: '%PROTOCOL%'}}
    useRequestIdForTraceSampling: true
    enableIstioTags: true
    disableContextPropagation: false
  metrics:
  - providers: [{name: prometheus}]
    reportingInterval: 5s
    overrides:
    - match: {metric: REQUEST_COUNT, mode: CLIENT}
      disabled: false
      tagOverrides: {response_code: {operation: UPSERT, value: response.code}, request_protocol: {operation: REMOVE}}
    - match: {customMetric: mine}
      disabled: true
  accessLogging:
  - match: {mode: CLIENT_AND_SERVER}
    providers: [{name: envoy}]
    disabled: false
    filter: {expression: response.code >= 400}
";

const WORKLOAD_GROUP: &str = r"
spec:
  metadata: {labels: {app: a}, annotations: {b: c}}
  template: {ports: {http: 8080}, labels: {app: a}, network: vms, locality: r/z/s, weight: 2, serviceAccount: web}
  probe:
    initialDelaySeconds: 1
    timeoutSeconds: 2
    periodSeconds: 3
    successThreshold: 4
    failureThreshold: 5
    httpGet: {path: /ready, port: 8080, host: 127.0.0.1, scheme: HTTP, httpHeaders: [{name: x-a, value: b}]}
";

const PROXY_CONFIG: &str = r"
spec:
  selector: {matchLabels: {app: a}}
  concurrency: 0
  environmentVariables: {ISTIO_META_A: b}
  image: {imageType: distroless}
";

const ENVOY_FILTER: &str = r"
spec:
  workloadSelector: {labels: {app: a}}
  priority: -10
  configPatches:
  - applyTo: HTTP_FILTER
    match:
      context: SIDECAR_INBOUND
      proxy: {proxyVersion: '^1.*', metadata: {a: b}}
      listener:
        portNumber: 80
        name: virtualInbound
        filterChain: {sni: a.example.com, filter: {name: envoy.filters.network.http_connection_manager, subFilter: {name: envoy.filters.http.router}}}
    patch:
      operation: INSERT_BEFORE
      filterClass: AUTHZ
      value: {name: envoy.filters.http.local_ratelimit, typed_config: {'@type': any, token_bucket: {max_tokens: 4}}}
  - applyTo: VIRTUAL_HOST
    match: {context: GATEWAY, routeConfiguration: {vhost: {name: '*:80', route: {action: ANY}}}}
    patch: {operation: MERGE, value: {rate_limits: [{actions: [{remote_address: {}}]}]}}
  - applyTo: CLUSTER
    match: {cluster: {service: a.example.com, subset: v1, portNumber: 80}}
    patch: {operation: REMOVE}
";

const WASM_PLUGIN: &str = r"
spec:
  selector: {matchLabels: {app: a}}
  url: oci://registry.example.com/auth:1
  sha256: a000000000000000000000000000000000000000000000000000000000000000
  imagePullPolicy: IfNotPresent
  imagePullSecret: pull
  verificationKey: key
  pluginConfig: {anything: [1, {at: all}]}
  pluginName: auth
  phase: AUTHN
  priority: 10
  failStrategy: FAIL_OPEN
  vmConfig: {env: [{name: A, valueFrom: INLINE, value: b}, {name: C, valueFrom: HOST}]}
  match: [{mode: CLIENT_AND_SERVER, ports: [{number: 80}]}]
  type: HTTP
";

const TRAFFIC_EXTENSION: &str = r"
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: g}]
  phase: STATS
  priority: 1
  match: [{mode: SERVER, ports: [{number: 80}]}]
  lua: {inlineCode: 'function envoy_on_request(handle) end'}
";
