"""What a model's manifests are at first: written once, then the team's to edit.

Nothing here knows an environment: its overlay says image, model, replicas, host and namespace,
so that the first deployments to two environments write the same bytes.
"""

from __future__ import annotations

from string import Template
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_FILES = {
    "kustomization.yaml": """\
# Written once by mlops_nb; yours to edit. overlays/<environment> patches it by position: the
# container "server" stays first, and so does "download" with its first three variables.
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources:
- serviceaccount.yaml
- rollout.yaml
- services.yaml
- httproute.yaml
- analysis.yaml
- scrape.yaml
- networkpolicy.yaml
""",
    "serviceaccount.yaml": """\
apiVersion: v1
kind: ServiceAccount
metadata:
  name: $model
automountServiceAccountToken: false
""",
    "rollout.yaml": """\
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata:
  name: $model
  labels:
    app.kubernetes.io/name: $model
    app.kubernetes.io/part-of: ml-models
    app.kubernetes.io/managed-by: mlops-nb
spec:
  replicas: 1
  # A revert within the window goes back at once instead of through all steps again.
  revisionHistoryLimit: 5
  rollbackWindow:
    revisions: 3
  minReadySeconds: 15
  progressDeadlineSeconds: 1800
  progressDeadlineAbort: true
  selector:
    matchLabels:
      app.kubernetes.io/name: $model
  # Any change below this line starts a canary.
  template:
    metadata:
      labels:
        app.kubernetes.io/name: $model
    spec:
      serviceAccountName: $model
      automountServiceAccountToken: false
      securityContext:
        runAsNonRoot: true
        seccompProfile:
          type: RuntimeDefault
      volumes:
      - name: model
        emptyDir: {}
      - name: tmp
        emptyDir: {}
      initContainers:
      - name: download
        image: set-by-the-overlay
        command: [mlflow, artifacts, download]
        args: [--artifact-uri, $$(MODEL_URI), --dst-path, /mnt/model]
        workingDir: /tmp
        env:
        - name: MODEL_URI
          value: set-by-the-overlay
        - name: MODEL_DIGEST
          value: set-by-the-overlay
        - name: MLFLOW_TRACKING_URI
          value: set-by-the-overlay
        - name: HOME
          value: /tmp
        resources:
          requests:
            cpu: 100m
            memory: 512Mi
          limits:
            memory: 512Mi
        securityContext:
          allowPrivilegeEscalation: false
          readOnlyRootFilesystem: true
          capabilities:
            drop: [ALL]
        volumeMounts:
        - name: model
          mountPath: /mnt/model
        - name: tmp
          mountPath: /tmp
      containers:
      - name: server
        image: set-by-the-overlay
        command: [mlserver, start, /mnt/model]
        workingDir: /tmp
        env:
        - name: MLSERVER_MODEL_NAME
          value: $model
        - name: MLSERVER_MODEL_IMPLEMENTATION
          value: mlserver_mlflow.MLflowRuntime
        - name: MLSERVER_MODEL_URI
          value: /mnt/model
        - name: HOME
          value: /tmp
        ports:
        - name: http
          containerPort: 8080
        - name: metrics
          containerPort: 8082
        startupProbe:
          httpGet:
            path: /v2/health/ready
            port: http
          periodSeconds: 5
          failureThreshold: 120
        readinessProbe:
          httpGet:
            path: /v2/health/ready
            port: http
          periodSeconds: 5
          failureThreshold: 3
        resources:
          requests:
            cpu: 500m
            memory: 1Gi
          limits:
            memory: 1Gi
        securityContext:
          allowPrivilegeEscalation: false
          readOnlyRootFilesystem: true
          capabilities:
            drop: [ALL]
        volumeMounts:
        - name: model
          mountPath: /mnt/model
          readOnly: true
        - name: tmp
          mountPath: /tmp
  strategy:
    canary:
      canaryService: $model-canary
      stableService: $model-stable
      minPodsPerReplicaSet: 1
      abortScaleDownDelaySeconds: 300
      trafficRouting:
        plugins:
          argoproj-labs/gatewayAPI:
            httpRoute: $model
            namespace: set-by-the-overlay
      steps:
      - setWeight: 100
""",
    "services.yaml": """\
apiVersion: v1
kind: Service
metadata:
  name: $model-stable
spec:
  selector:
    app.kubernetes.io/name: $model
  ports:
  - name: http
    port: 80
    targetPort: http
---
apiVersion: v1
kind: Service
metadata:
  name: $model-canary
spec:
  selector:
    app.kubernetes.io/name: $model
  ports:
  - name: http
    port: 80
    targetPort: http
""",
    "httproute.yaml": """\
# What the API would fill in stands here in full, or Argo CD would find a difference for ever.
# The weights are moved by the rollout; clusters/<environment> tells Argo CD to let them be.
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: $model
spec:
  parentRefs:
  - group: gateway.networking.k8s.io
    kind: Gateway
    name: set-by-the-overlay
    namespace: set-by-the-overlay
  hostnames:
  - set-by-the-overlay.example.com
  rules:
  - matches:
    - path:
        type: PathPrefix
        value: /
    backendRefs:
    - group: ""
      kind: Service
      name: $model-stable
      port: 80
      weight: 100
    - group: ""
      kind: Service
      name: $model-canary
      port: 80
      weight: 0
""",
    "analysis.yaml": """\
# No data, NaN or too little traffic is neither success nor failure: the rollout pauses.
# Health probes are no traffic, so only inference paths count.
apiVersion: argoproj.io/v1alpha1
kind: AnalysisTemplate
metadata:
  name: $model-canary
spec:
  args:
  - name: canary-hash
  - name: stable-hash
  - name: metrics-url
    value: http://vmsingle.monitoring:8428
  - name: window
    value: 300s
  - name: interval
    value: 75s
  - name: min-requests
    value: "100"
  - name: max-latency-ratio
    value: "1.20"
  - name: max-latency-seconds
    value: "2.0"
  - name: max-error-delta
    value: "0.01"
  # Observed, not judged: set max-latency-seconds to your promise, then delete dryRun.
  dryRun:
  - metricName: p95-latency-seconds
  metrics:
$metrics""",
    "scrape.yaml": """\
apiVersion: operator.victoriametrics.com/v1beta1
kind: VMPodScrape
metadata:
  name: $model
spec:
  selector:
    matchLabels:
      app.kubernetes.io/name: $model
  podTargetLabels:
  - rollouts-pod-template-hash
  - app.kubernetes.io/name
  podMetricsEndpoints:
  - port: metrics
    path: /metrics
    scrape_interval: 15s
""",
    "networkpolicy.yaml": """\
# Whatever is not allowed here is denied. The overlay sets the gateway's namespace and the
# tracking server's port.
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: $model
spec:
  podSelector:
    matchLabels:
      app.kubernetes.io/name: $model
  policyTypes: [Ingress, Egress]
  ingress:
  - from:
    - namespaceSelector:
        matchLabels:
          kubernetes.io/metadata.name: set-by-the-overlay
    ports:
    - protocol: TCP
      port: http
  - from:
    - namespaceSelector:
        matchLabels:
          kubernetes.io/metadata.name: monitoring
    ports:
    - protocol: TCP
      port: metrics
  egress:
  # The model is downloaded from the tracking server and its artifact store: narrow this to
  # their addresses with `to:`.
  - ports:
    - protocol: TCP
      port: 5000
    - protocol: TCP
      port: 443
  - to:
    - namespaceSelector:
        matchLabels:
          kubernetes.io/metadata.name: kube-system
      podSelector:
        matchLabels:
          k8s-app: kube-dns
    ports:
    - protocol: UDP
      port: 53
    - protocol: TCP
      port: 53
""",
}


# Both conditions need data: without any, neither holds, and the rollout pauses. An
# error of the metrics server is asked again every 10 s: twelve let it be away for two minutes.
_METRIC = """\
  - name: $name
    initialDelay: "{{args.window}}"
    interval: "{{args.interval}}"
    count: 5
    failureLimit: 1
    inconclusiveLimit: 2
    consecutiveErrorLimit: 12
    successCondition: $known && result[0] <= {{args.$limit}}
    failureCondition: $known && result[0] > {{args.$limit}}
    provider:
      prometheus:
        address: "{{args.metrics-url}}"
        timeout: 20
        query: |
          ($query)
          and on() (sum(increase($requests)) >= {{args.min-requests}})
"""
_KNOWN = "len(result) > 0 && !isNaN(result[0])"


def base_files(model: str) -> dict[str, bytes]:
    """Write a model's base manifests, by path."""
    words = {"model": model, "metrics": "".join(_metrics())}
    return {
        f"models/{model}/base/{name}": Template(text).substitute(words).encode()
        for name, text in _FILES.items()
    }


def _metrics() -> Iterator[str]:
    canary, stable = _p95("canary"), _p95("stable")
    queries = {
        "p95-latency-ratio": ("max-latency-ratio", f"{canary}\n          / {stable}"),
        "error-rate-delta": (
            "max-error-delta",
            f"{_failures('canary')}\n          - {_failures('stable')}",
        ),
        "p95-latency-seconds": ("max-latency-seconds", canary),
    }
    for name, (limit, query) in queries.items():
        words = {"name": name, "limit": limit, "query": query, "known": _KNOWN}
        yield Template(_METRIC).substitute(words, requests=_requests("canary"))


def _p95(pods: str) -> str:
    buckets = f"rest_server_request_duration_seconds_bucket{_window(pods)}"
    return f"histogram_quantile(0.95, sum by (le) (rate({buckets})))"


def _failures(pods: str) -> str:
    failed = _requests(pods, ',status_code=~"5.."')
    # A counter that never failed has no series; a share of no requests has no value.
    return f"((sum(rate({failed})) or vector(0)) / sum(rate({_requests(pods)})))"


def _requests(pods: str, more: str = "") -> str:
    return f"rest_server_requests_total{_window(pods, more)}"


def _window(pods: str, more: str = "") -> str:
    labels = f'rollouts_pod_template_hash="{{{{args.{pods}-hash}}}}"'
    return f'{{{labels},path=~".*/(infer|invocations)"{more}}}[{{{{args.window}}}}]'
