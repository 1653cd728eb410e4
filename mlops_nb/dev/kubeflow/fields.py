"""The fields of requests: any that is not known is refused, as by the real server."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from mlops_nb.dev.kubeflow.refusal import INVALID, Refusal

if TYPE_CHECKING:
    from mlops_nb.dev.kubeflow.options import Json

_REFERENCE: Json = {"pipeline_id": None, "pipeline_version_id": None}
_RUNTIME_CONFIG: Json = {"parameters": None, "pipeline_root": None}
_ERROR: Json = {"code": None, "message": None, "details": None}
_PERIOD: Json = {"start_time": None, "end_time": None}

EXPERIMENT: Json = dict.fromkeys(
    (
        "experiment_id",
        "display_name",
        "description",
        "created_at",
        "namespace",
        "storage_state",
        "last_run_created_at",
    )
)

PIPELINE: Json = {
    **dict.fromkeys(
        (
            "pipeline_id",
            "display_name",
            "name",
            "description",
            "created_at",
            "namespace",
            "tags",
        )
    ),
    "error": _ERROR,
}

PIPELINE_VERSION: Json = {
    **dict.fromkeys(
        (
            "pipeline_id",
            "pipeline_version_id",
            "display_name",
            "name",
            "description",
            "created_at",
            "code_source_url",
            "pipeline_spec",
            "tags",
        )
    ),
    "package_url": {"pipeline_url": None},
    "error": _ERROR,
}

RUN: Json = {
    **dict.fromkeys(
        (
            "experiment_id",
            "run_id",
            "display_name",
            "storage_state",
            "description",
            "pipeline_version_id",
            "pipeline_spec",
            "service_account",
            "created_at",
            "scheduled_at",
            "finished_at",
            "state",
            "run_details",
            "recurring_run_id",
            "state_history",
            "plugins_input",
            "plugins_output",
        )
    ),
    "pipeline_version_reference": _REFERENCE,
    "runtime_config": _RUNTIME_CONFIG,
    "error": _ERROR,
}

RECURRING_RUN: Json = {
    **dict.fromkeys(
        (
            "recurring_run_id",
            "display_name",
            "description",
            "pipeline_version_id",
            "pipeline_spec",
            "service_account",
            "max_concurrency",
            "mode",
            "created_at",
            "updated_at",
            "status",
            "no_catchup",
            "namespace",
            "experiment_id",
            "plugins_input",
        )
    ),
    "pipeline_version_reference": _REFERENCE,
    "runtime_config": _RUNTIME_CONFIG,
    "trigger": {
        "cron_schedule": {**_PERIOD, "cron": None},
        "periodic_schedule": {**_PERIOD, "interval_second": None},
    },
    "error": _ERROR,
}

_HUMP = re.compile(r"(?<=[a-z0-9])([A-Z])")


def read(given: Any, shape: Json) -> Json:
    """Check a request's fields; give them in snake_case, without those that are null.

    Args:
        given: the body of the request.
        shape: its fields; a field that is a message itself has the shape of that one.
    """
    if not isinstance(given, dict):
        raise Refusal(INVALID, f"proto: syntax error: unexpected token {given!r}")
    found: Json = {}
    for name, value in given.items():
        snake = _HUMP.sub(lambda hump: f"_{hump[1].lower()}", name)
        if snake not in shape:
            raise Refusal(INVALID, f'proto: (line 1:1): unknown field "{name}"')
        if value is not None:
            found[snake] = value if shape[snake] is None else read(value, shape[snake])
    return found


def text(body: Json, name: str) -> str:
    """Give a field that must be a string; empty where it is absent."""
    value = body.get(name, "")
    if not isinstance(value, str):
        raise Refusal(INVALID, f"proto: invalid value for string field {name}: {value!r}")
    return value


def without_empty(body: Json) -> Json:
    """Leave out what protobuf leaves out: empty text, lists and objects, false, zero."""
    return {
        name: value for name, value in body.items() if value not in ("", [], {}, False, 0, None)
    }
