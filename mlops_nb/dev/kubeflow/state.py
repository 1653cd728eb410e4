"""What survives a restart: JSON documents by kind and id, in one sqlite file."""

from __future__ import annotations

import fcntl
import json
import sqlite3
from typing import TYPE_CHECKING

from mlops_nb.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from mlops_nb.dev.kubeflow.options import Json

_TABLE = (
    "create table if not exists things (sequence integer primary key autoincrement, "
    "kind text not null, id text not null, body text not null, unique (kind, id))"
)
_PUT = (
    "insert into things (kind, id, body) values (?, ?, ?) "
    "on conflict (kind, id) do update set body = excluded.body"
)


class Store:
    """JSON documents, each of a kind and with an id, oldest first; one server alone has it."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = path.with_suffix(".lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.close()
            text = f"{path.parent} is used by another server"
            raise UserError(text, hint="stop that one, or take another folder") from None
        self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._database.execute("pragma journal_mode = wal")
        self._database.execute("pragma synchronous = normal")
        self._database.execute(_TABLE)

    def put(self, kind: str, key: str, body: Json) -> None:
        """Write a document; one that was there keeps its place."""
        self._database.execute(_PUT, (kind, key, json.dumps(body)))

    def get(self, kind: str, key: str) -> Json | None:
        """Give a copy of a document, or None."""
        query = "select body from things where kind = ? and id = ?"
        row = self._database.execute(query, (kind, key)).fetchone()
        return None if row is None else dict(json.loads(row[0]))

    def all(self, kind: str) -> list[Json]:
        """Give copies of all documents of a kind, oldest first."""
        query = "select body from things where kind = ? order by sequence"
        return [dict(json.loads(row[0])) for row in self._database.execute(query, (kind,))]

    def delete(self, kind: str, key: str) -> None:
        """Forget a document."""
        self._database.execute("delete from things where kind = ? and id = ?", (kind, key))

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()
        self._lock.close()
