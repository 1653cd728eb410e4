# The image that pods run in: what the runner needs, on top of an image with your libraries.
#
#   HATCH_BUILD_NO_HOOKS=true pip wheel --no-deps --wheel-dir dist .
#   docker build --file binder/pod.Dockerfile --build-arg BASE=python:3.12-slim --tag IMAGE .
#
# The first line leaves out JupyterLab's panel, which no pod shows.
# BASE is any image with Python 3.11 or later. Wheels in dist/ are taken before those of the
# index, and with `--build-arg PIP_NO_INDEX=1` no others.
ARG BASE=python:3.12-slim

FROM ${BASE} AS built
ARG PIP_INDEX_URL
ARG PIP_NO_INDEX
COPY binder/requirements-pod.txt dist/*.whl /wheels/
RUN python -m venv --system-site-packages /opt/pod \
    && /opt/pod/bin/pip install --no-cache-dir --find-links /wheels \
        --requirement /wheels/requirements-pod.txt \
    && /opt/pod/bin/pip install --no-cache-dir --no-index --find-links /wheels --no-deps mlops-nb

FROM ${BASE}
# `--deploy` proposes from a pod, by Git.
RUN command -v git || { apt-get update \
    && apt-get install --yes --no-install-recommends git \
    && rm -rf /var/lib/apt/lists/*; }
COPY --from=built /opt/pod /opt/pod
# A cluster may give a pod any user id, which then has no home of its own.
ENV PATH=/opt/pod/bin:$PATH HOME=/tmp
USER 1000:1000
