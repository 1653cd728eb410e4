"""The files that have a forge's CI verify each pull request of the GitOps repository."""

from __future__ import annotations

from string import Template

from mlops_nb.core.verification import Workflow

_GITHUB = Template("""\
# Holds each pull request against its evidence, its record, base and the model registry.
# Printed by `mlops verify-pr --workflow github`. To have it stop a merge, make `verify-pr` a
# required check and require branches to be up to date; to have nobody switch it off in a pull
# request, name owners of /.github/ in CODEOWNERS.
name: verify-pr
on: pull_request
permissions:
  contents: read
concurrency:
  group: verify-pr-$${{ github.ref }}
  cancel-in-progress: true
jobs:
  verify-pr:
    runs-on: ubuntu-latest
    timeout-minutes: 20
    steps:
      - uses: actions/checkout@08c6903cd8c0fde910a37f88322edcfb5dd907a8 # v5.0.0
        with:
          fetch-depth: 0 # what stood on base before is read from the history
          persist-credentials: false
      - uses: actions/setup-python@e797f83bcb11b83ae66e0230d6156d7c80228e7c # v6.0.0
        with:
          python-version: "3.12"
      - run: python -m pip install "mlops-nb==$version"
      - run: mlops verify-pr --base "origin/$$GITHUB_BASE_REF"
        env:
          MLFLOW_TRACKING_URI: $${{ vars.MLFLOW_TRACKING_URI }}
          # A token that may read; without it where the server wants none.
          MLFLOW_TRACKING_TOKEN: $${{ secrets.MLFLOW_TRACKING_TOKEN }}
""")
_GITLAB = Template("""\
# Holds each merge request against its evidence, its record, base and the model registry.
# Printed by `mlops verify-pr --workflow gitlab`. Variables of the project: MLFLOW_TRACKING_URI
# and, where the server wants one, MLFLOW_TRACKING_TOKEN (masked; a token that may read). To
# have it stop a merge, let pipelines have to succeed, and merge by fast-forward or by merged
# results.
verify-pr:
  image: python:3.12
  rules:
    - if: $$CI_PIPELINE_SOURCE == "merge_request_event"
  timeout: 20 minutes
  interruptible: true
  variables:
    GIT_DEPTH: "0" # what stood on base before is read from the history
    BASE: $$CI_MERGE_REQUEST_TARGET_BRANCH_NAME
  before_script:
    - python -m pip install "mlops-nb==$version"
  script:
    - git fetch --quiet origin "+refs/heads/$$BASE:refs/remotes/origin/$$BASE"
    - mlops verify-pr --base "origin/$$BASE"
""")
_FILES = {
    "github": (".github/workflows/verify-pr.yml", _GITHUB),
    "gitlab": (".gitlab-ci.yml", _GITLAB),
}


def workflow(forge: str, version: str) -> Workflow:
    """Give the file for a forge's CI.

    Args:
        forge: github or gitlab.
        version: release of this tool that is to verify.
    """
    path, template = _FILES[forge]
    return Workflow(path=path, content=template.substitute(version=version))


__all__ = ["workflow"]
