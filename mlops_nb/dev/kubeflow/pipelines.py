"""Pipelines and their versions."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING

from mlops_nb.dev.kubeflow import fields
from mlops_nb.dev.kubeflow.clock import stamp
from mlops_nb.dev.kubeflow.ir import manifest_of, read_package, spec_field
from mlops_nb.dev.kubeflow.listing import Shape, page
from mlops_nb.dev.kubeflow.refusal import ALREADY_EXISTS, Refusal, invalid, not_found

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlops_nb.dev.kubeflow.access import Access
    from mlops_nb.dev.kubeflow.options import Json
    from mlops_nb.dev.kubeflow.state import Store

_PIPELINES = "pipelines"
_VERSIONS = "versions"
_FIELDS = {
    "name": "name",
    "display_name": "display_name",
    "created_at": "created_at",
}
_PIPELINE_SHAPE = Shape("pipelines", "pipeline_id", {**_FIELDS, "id": "pipeline_id"})
_VERSION_SHAPE = Shape(
    "pipeline_versions", "pipeline_version_id", {**_FIELDS, "id": "pipeline_version_id"}
)


class Pipelines:
    """The pipelines of the server, each with one version or more."""

    def __init__(self, store: Store, access: Access) -> None:
        self._store = store
        self._access = access

    def upload(self, content: bytes, file_name: str, query: Mapping[str, str]) -> Json:
        """Make a pipeline, and its first version, of a package."""
        manifest = read_package(content)
        name = query.get("name") or query.get("display_name") or file_name
        namespace = self._access.namespace(query.get("namespace", ""))
        given = {
            "name": name,
            "namespace": namespace,
            "display_name": query.get("display_name"),
        }
        body = self._make({**given, "description": query.get("description", "")})
        self._version(body["pipeline_id"], {"name": name}, manifest)
        return body

    def upload_version(self, content: bytes, file_name: str, query: Mapping[str, str]) -> Json:
        """Add a version to a pipeline, of a package."""
        manifest = read_package(content)
        pipeline_id = query.get("pipelineid", "")
        if not pipeline_id:
            raise invalid("Please specify a pipeline id when creating pipeline versions")
        self.get(pipeline_id)
        given = {"name": query.get("name") or query.get("display_name") or file_name}
        given["description"] = query.get("description", "")
        given["display_name"] = query.get("display_name", "")
        return self._version(pipeline_id, given, manifest)

    def create(self, given: Json) -> Json:
        """Make a pipeline without a version."""
        body = fields.read(given, fields.PIPELINE)
        namespace = self._access.namespace(fields.text(body, "namespace"))
        return self._make({**body, "namespace": namespace})

    def create_version(self, pipeline_id: str, given: Json) -> Json:
        """Add a version to a pipeline, of its spec."""
        body = fields.read(given, fields.PIPELINE_VERSION)
        self.get(pipeline_id)
        return self._version(pipeline_id, body, manifest_of(body.get("pipeline_spec")))

    def _make(self, given: Json) -> Json:
        name = given.get("name") or given.get("display_name") or ""
        if not name:
            raise invalid("pipeline's name cannot be empty")
        known = [p for p in self._all(given.get("namespace", "")) if p["name"] == name]
        if known:
            text = f"The name {name} already exists. Please specify a new name"
            raise Refusal(ALREADY_EXISTS, f"Already exist error: {text}")
        body = fields.without_empty(
            {
                "pipeline_id": str(uuid.uuid4()),
                "name": name,
                "display_name": given.get("display_name") or name,
                "description": given.get("description", ""),
                "created_at": stamp(time.time()),
                "namespace": given.get("namespace", ""),
            }
        )
        self._store.put(_PIPELINES, body["pipeline_id"], body)
        return body

    def _version(self, pipeline_id: str, given: Json, manifest: Json) -> Json:
        name = given.get("name") or given.get("display_name") or ""
        if not name:
            raise invalid("a pipeline version's name cannot be empty")
        if any(version["name"] == name for version in self._versions(pipeline_id)):
            text = f"The name {name} already exists. Please specify a new name"
            raise Refusal(ALREADY_EXISTS, f"Already exist error: {text}")
        body = fields.without_empty(
            {
                "pipeline_id": pipeline_id,
                "pipeline_version_id": str(uuid.uuid4()),
                "name": name,
                "display_name": given.get("display_name") or name,
                "description": given.get("description", ""),
                "created_at": stamp(time.time()),
                "pipeline_spec": spec_field(manifest),
                "package_url": given.get("package_url", {}),
                "code_source_url": given.get("code_source_url", ""),
            }
        )
        self._store.put(_VERSIONS, body["pipeline_version_id"], body)
        return body

    def _all(self, namespace: str) -> list[Json]:
        return [p for p in self._store.all(_PIPELINES) if p.get("namespace", "") == namespace]

    def _versions(self, pipeline_id: str) -> list[Json]:
        versions = self._store.all(_VERSIONS)
        return [version for version in versions if version["pipeline_id"] == pipeline_id]

    def get(self, pipeline_id: str) -> Json:
        """Give a pipeline."""
        found = self._store.get(_PIPELINES, pipeline_id)
        if found is None:
            raise not_found("Pipeline", pipeline_id)
        self._access.check(found.get("namespace", ""))
        return found

    def named(self, name: str, query: Mapping[str, str]) -> Json:
        """Give the pipeline of a name."""
        namespace = self._access.namespace(query.get("namespace", ""))
        for found in self._all(namespace):
            if found["name"] == name:
                return found
        raise not_found("Pipeline", name)

    def list(self, query: Mapping[str, str]) -> Json:
        """Give a page of the pipelines of a namespace."""
        namespace = self._access.namespace(query.get("namespace", ""))
        return page(_PIPELINE_SHAPE, self._all(namespace), query)

    def delete(self, pipeline_id: str, query: Mapping[str, str]) -> None:
        """Forget a pipeline; one with versions only with `cascade`."""
        self.get(pipeline_id)
        versions = self._versions(pipeline_id)
        if versions and query.get("cascade") != "true":
            text = f"pipeline {pipeline_id} still has {len(versions)} versions"
            raise invalid(f"Failed to delete pipeline: {text}; use cascade to delete them, too")
        for version in versions:
            self._store.delete(_VERSIONS, version["pipeline_version_id"])
        self._store.delete(_PIPELINES, pipeline_id)

    def version(self, pipeline_id: str, version_id: str) -> Json:
        """Give a version of a pipeline."""
        self.get(pipeline_id)
        found = self._store.get(_VERSIONS, version_id)
        if found is None or found["pipeline_id"] != pipeline_id:
            raise not_found("PipelineVersion", version_id)
        return found

    def versions(self, pipeline_id: str, query: Mapping[str, str]) -> Json:
        """Give a page of the versions of a pipeline."""
        self.get(pipeline_id)
        return page(_VERSION_SHAPE, self._versions(pipeline_id), query)

    def delete_version(self, pipeline_id: str, version_id: str) -> None:
        """Forget a version of a pipeline."""
        self.version(pipeline_id, version_id)
        self._store.delete(_VERSIONS, version_id)

    def referred(self, reference: Json) -> Json:
        """Give the version that a run asks for; the newest if it names the pipeline alone."""
        pipeline_id = fields.text(reference, "pipeline_id")
        version_id = fields.text(reference, "pipeline_version_id")
        if version_id:
            found = self._store.get(_VERSIONS, version_id)
            if found is None or pipeline_id not in ("", found["pipeline_id"]):
                raise not_found("PipelineVersion", version_id)
            self.get(found["pipeline_id"])
            return found
        if not pipeline_id:
            raise invalid("Pipeline spec is missing: neither pipeline_spec nor pipeline_id")
        self.get(pipeline_id)
        versions = self._versions(pipeline_id)
        if not versions:
            raise not_found("PipelineVersion", f"of pipeline {pipeline_id}")
        return versions[-1]
