"""Domain values as arguments of a pod, which reach it unchanged."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass


def as_argument(value: object) -> str:
    """Give a domain value as JSON text that reaches a pod's argument unchanged.

    Kubernetes replaces `$(NAME)` in arguments with a variable's value, Argo and Kubeflow what
    stands in double braces. Both can only be within JSON's texts, and are escaped there.
    """
    return shield(json.dumps(_plain(value), separators=(",", ":")))


def shield(text: str) -> str:
    """Escape in a JSON text what others would replace; the JSON stays the same value."""
    return text.replace("{{", "{\\u007b").replace("$(", "\\u0024(")


def _plain(value: object) -> object:
    """Give a domain value as JSON knows it and `wire` reads it; defaults are left out."""
    if is_dataclass(value) and not isinstance(value, type):
        return {
            f.name: _plain(own)
            for f in fields(value)
            if (own := getattr(value, f.name)) != f.default
            and (f.default_factory is MISSING or own != f.default_factory())
        }
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return {math.inf: "Infinity", -math.inf: "-Infinity"}.get(value, "NaN")
    return value
