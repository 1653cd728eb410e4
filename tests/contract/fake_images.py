"""Image registries in memory."""

from __future__ import annotations

from dataclasses import dataclass, field

from mlops_nb.errors import BackendUnavailable


@dataclass
class FakeImages:
    """Has every image but those that are gone; says nothing while it is down."""

    gone: set[str] = field(default_factory=set)
    is_down: bool = False

    def has(self, image: str) -> bool:
        if self.is_down:
            raise BackendUnavailable("the image registry does not answer")
        return image not in self.gone
