"""What a model's manifests are at first: written once, then the team's to edit.

Nothing here knows an environment: its overlay says image, model, replicas, router and
namespace, so that the first deployments to two environments write the same bytes.
"""

from __future__ import annotations

from string import Template
from typing import TYPE_CHECKING

from mlops_nb.manifests.analysis import analysis_templates
from mlops_nb.manifests.routes import DNS_EGRESS
from mlops_nb.manifests.servers import base_path

if TYPE_CHECKING:
    from mlops_nb.manifests.servers import Server

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
- analysis.yaml
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
    mlops-nb.io/server: $server
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
$user      volumes:
      - name: model
        emptyDir: {}
      - name: tmp
        emptyDir: {}
$shm_volume      initContainers:
      - name: download
        image: set-by-the-overlay
        command: [python, -c]
        args:
        - |
          # Downloads the model; what was changed since it was registered is not served.
          import hashlib, os, pathlib, sys
          from mlflow.artifacts import download_artifacts
          folder = pathlib.Path("$folder")
          folder.mkdir(parents=True, exist_ok=True)
          download_artifacts(artifact_uri=os.environ["MODEL_URI"], dst_path=str(folder))
          found = [p for p in folder.rglob("*") if p.is_file()]
          names = [p.relative_to(folder).as_posix() for p in found
                   if p.name != "registered_model_meta"]
          total = hashlib.sha256()
          for name in sorted(names):
              content = hashlib.sha256()
              with open(folder / name, "rb") as file:
                  for part in iter(lambda: file.read(1 << 20), b""):
                      content.update(part)
              total.update(f"{name}\\0{content.hexdigest()}\\n".encode())
          digest = "sha256:" + total.hexdigest()
          if digest != os.environ["MODEL_DIGEST"]:
              sys.exit(f"the model is {digest}, not {os.environ['MODEL_DIGEST']}")
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
$start        ports:
        - name: http
          containerPort: 8080
$metrics_port        startupProbe:
          httpGet:
            path: $ready
            port: http
          periodSeconds: 5
          failureThreshold: $patience
        readinessProbe:
          httpGet:
            path: $ready
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
$shm_mount  strategy:
    canary:
      canaryService: $model-canary
      stableService: $model-stable
      # These two count where something routes the traffic.
      minPodsPerReplicaSet: 1
      abortScaleDownDelaySeconds: 300
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
    "networkpolicy.yaml": """\
# Whatever is not allowed here is denied. The overlay sets where requests come from and the
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
      port: $scraped
  - from:
    - podSelector:
        matchLabels:
          app.kubernetes.io/name: $model-quality
    ports:
    - protocol: TCP
      port: http
  egress:
  # The model is downloaded from the tracking server and its artifact store: narrow this to
  # their addresses with `to:`.
  - ports:
    - protocol: TCP
      port: 5000
    - protocol: TCP
      port: 443
"""
    + DNS_EGRESS,
}
_START = {
    "mlserver": """\
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
""",
    "triton": """\
        # The model's folder lies where Triton looks for version 1 of it.
        command: [tritonserver]
        args:
        - --model-repository=/mnt/model
        - --http-port=8080
        - --metrics-port=8002
        - --allow-grpc=false
        workingDir: /tmp
        env:
        - name: HOME
          value: /tmp
""",
    "vllm": """\
        # MLflow keeps the tokenizer beside the model.
        command: [vllm, serve, /mnt/model/model]
        args:
        - --tokenizer=/mnt/model/components/tokenizer
        - --served-model-name=$model
        - --load-format=safetensors
        - --port=8080
        - --tensor-parallel-size=$$(GPUS)
        workingDir: /tmp
        env:
        - name: GPUS
          value: set-by-the-overlay
        - name: HF_HUB_OFFLINE
          value: "1"
        - name: VLLM_NO_USAGE_STATS
          value: "1"
        # The root file system is read-only, and the user has no name.
        - name: HOME
          value: /tmp
        - name: USER
          value: vllm
        - name: VLLM_CACHE_ROOT
          value: /tmp/vllm
        - name: TRITON_CACHE_DIR
          value: /tmp/triton
        - name: TORCHINDUCTOR_CACHE_DIR
          value: /tmp/inductor
""",
    "kserve": """\
        # The image's own entry point: sklearnserver, xgbserver or lgbserver.
        args:
        - --model_name=$model
        - --model_dir=/mnt/model
        - --http_port=8080
        workingDir: /tmp
        env:
        - name: HOME
          value: /tmp
""",
}
# Servers whose images would run as root.
_USER = """\
        runAsUser: 1000
        runAsGroup: 1000
"""
_METRICS_PORT = """\
        - name: metrics
          containerPort: $port
"""
_SHM_VOLUME = """\
      - name: shm
        emptyDir:
          medium: Memory
          sizeLimit: set-by-the-overlay
"""
_SHM_MOUNT = """\
        - name: shm
          mountPath: /dev/shm
"""


def base_files(model: str, server: Server) -> dict[str, bytes]:
    """Write a model's base manifests for Argo Rollouts, by path."""
    is_apart = server.scraped == "metrics"
    words = {
        "model": model,
        "server": server.name,
        "folder": f"/mnt/model/{model}/1" if server.name == "triton" else "/mnt/model",
        "user": _USER if server.name in {"triton", "vllm"} else "",
        "start": Template(_START[server.name]).substitute(model=model),
        "ready": server.ready,
        # Weights of an LLM take their time to load.
        "patience": "360" if server.is_llm else "120",
        "metrics_port": Template(_METRICS_PORT).substitute(port=server.metrics_port)
        if is_apart
        else "",
        "scraped": server.scraped,
        "shm_volume": _SHM_VOLUME if server.is_llm else "",
        "shm_mount": _SHM_MOUNT if server.is_llm else "",
    }
    folder = base_path(model, "rollout")
    files = {
        f"{folder}/{name}": Template(text).substitute(words).encode()
        for name, text in _FILES.items()
    }
    return files | {f"{folder}/analysis.yaml": analysis_templates(model, server).encode()}
