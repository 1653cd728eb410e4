"""Whether a version could come back: whether its files and its image are still there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops_nb.core.delivery import Kept
from mlops_nb.core.model import ModelRef
from mlops_nb.errors import BackendError, MlopsError, NotFound
from mlops_nb.redaction import strip_userinfo

if TYPE_CHECKING:
    from mlops_nb.core.change import LockFile
    from mlops_nb.ports import Images, Registry


def model_kept(lock: LockFile, *, registry: Registry, tracking_uri: str) -> Kept:
    """Tell whether pods could fetch a version's files.

    Args:
        lock: its record.
        registry: asked for it.
        tracking_uri: tracking server of that registry.
    """
    here = strip_userinfo(tracking_uri)
    if lock.tracking_uri and lock.tracking_uri != here:
        why = f"it was deployed from {lock.tracking_uri}, not from {here}"
        return Kept(is_there=None, why=why)
    try:
        missing = _missing(lock, registry)
    except BackendError as error:
        return Kept(is_there=None, why=error.message)
    return Kept(is_there=not missing, why=missing)


def image_kept(lock: LockFile, images: Images) -> Kept:
    """Tell whether pods could pull a version's image.

    Args:
        lock: its record.
        images: asks the image's registry.
    """
    try:
        if images.has(lock.image):
            return Kept(is_there=True)
    except MlopsError as error:
        return Kept(is_there=None, why=error.message)
    return Kept(is_there=False, why=f"its registry has no {lock.image}")


def _missing(lock: LockFile, registry: Registry) -> str:
    """Say why a version cannot be fetched any more; empty if it can."""
    wanted = ModelRef(name=lock.model, version=lock.version)
    try:
        found = registry.resolve(wanted)
    except NotFound:
        return f"{wanted} is in the registry no longer"
    if found.digest and lock.digest and found.digest != lock.digest:
        return f"{wanted} is in the registry as {found.digest}, was deployed as {lock.digest}"
    if not registry.has_files(found):
        return f"the files of {wanted} are no longer at {strip_userinfo(found.source)}"
    return ""
