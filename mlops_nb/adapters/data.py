"""A run's data, brought to this machine and digested: fsspec."""

from __future__ import annotations

import difflib
import hashlib
import os
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from mlops_nb.core.data import Dataset
from mlops_nb.errors import BackendError, BackendUnavailable, MlopsError, NotAllowed, UserError
from mlops_nb.redaction import strip_userinfo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from mlops_nb.core.data import DataSource

_WEB = {"http", "https"}
_S3 = {"s3", "s3a"}
_UNREACHED = re.compile("Connect|Connection|Timeout|Disconnected|Payload|HTTPClient|DNS")


def locate(source: DataSource, here: Path, base: Path) -> DataSource:
    """Give local data by its path from `base`, as `stage` takes it; others as they are.

    Args:
        source: the data; a relative path starts from `here`.
        here: the folder somebody types in.
        base: the project's folder.

    Raises:
        UserError: if there is no such data, or the uri cannot be read.
    """
    scheme = _scheme(source.uri)
    if scheme not in {"", "file"}:
        _check_scheme(source, scheme)
        return source
    path = _local(source, here)
    if scheme or here == base:
        return source
    uri = str(path.relative_to(base) if path.is_relative_to(base) else path)
    return replace(source, uri=uri)


def stage(
    source: DataSource,
    folder: Path,
    *,
    base: Path,
    tell: Callable[[str], None] | None = None,
) -> tuple[Path, Dataset]:
    """Bring data to this machine and digest all of it.

    Local data is used where it lies. Remote data is loaded to `folder/<name>/`; it appears
    there only when it is whole, so that a staging that was interrupted can be repeated.

    Args:
        source: what to stage: a local path, file://, s3://, http:// or https://; a path that
            ends with a slash, or is no object of its own, is a folder.
        folder: where remote data is put.
        base: folder that a relative local path starts from.
        tell: told in a line of text what is loaded.

    Returns:
        where the file or folder is, and what it was.

    Raises:
        UserError: if there is no such data, or the uri cannot be read.
        NotAllowed: if the credentials are refused.
        BackendUnavailable: if the server does not answer.
        BackendError: if it fails otherwise.
    """
    uri, scheme = strip_userinfo(source.uri), _scheme(source.uri)
    if scheme in {"", "file"}:
        path = _local(source, base)
        uri = path.as_uri()
    else:
        _check_scheme(source, scheme)
        if tell is not None:
            tell(f"loading {source.name} from {uri}")
        path = _load(source, uri, folder / source.name)
    try:
        digest, size = _digest(path)
    except OSError as error:
        raise UserError(
            f"the data {source.name} at {path} cannot be read: {error.strerror or error}",
            hint="check its permissions",
        ) from None
    dataset = Dataset(name=source.name, uri=uri, digest=f"sha256:{digest}", size=size)
    return path, replace(dataset, rows=count_rows(path))


def count_rows(path: Path) -> int | None:
    """Count the rows of a file, or of a folder's files together.

    Of CSV and TSV files (RFC 4180) the line of headings is none; JSON lines count as they are,
    and Parquet files tell the number themselves.

    Returns:
        the number; None where a file's format does not tell.
    """
    if path.is_dir():
        counts = [count_rows(path / name) for name in _files(path)]
        known = [count for count in counts if count is not None]
        return sum(known) if counts and len(known) == len(counts) else None
    try:
        return _ROWS[path.suffix.lower()](path)
    except (KeyError, OSError, ValueError, ImportError):
        return None


def _records(path: Path) -> int:
    """Count lines that are not empty, but for those that end within quotes."""
    count = quotes = 0
    with path.open("rb") as file:
        for line in file:
            quotes += line.count(b'"')
            count += quotes % 2 == 0 and not line.isspace()
    return count


def _after_headings(path: Path) -> int:
    return max(0, _records(path) - 1)


def _parquet_rows(path: Path) -> int:
    from pyarrow import parquet  # slow to load, and other formats need none of it

    rows: int = parquet.read_metadata(path).num_rows
    return rows


_ROWS: Mapping[str, Callable[[Path], int]] = {
    ".csv": _after_headings,
    ".tsv": _after_headings,
    ".jsonl": _records,
    ".ndjson": _records,
    ".parquet": _parquet_rows,
}


def _check_scheme(source: DataSource, scheme: str) -> None:
    if scheme not in _WEB | _S3:
        raise UserError(
            f"the data {source.name} cannot be read from {scheme}://",
            hint="give a path, or a file://, s3://, http:// or https:// address",
        )


def _scheme(uri: str) -> str:
    scheme, separator, _ = uri.partition("://")
    if separator:
        return scheme.lower()
    return "file" if uri.startswith("file:") else ""


def _local(source: DataSource, base: Path) -> Path:
    text = source.uri
    if _scheme(text) == "file":
        parts = urlsplit(text)
        if parts.netloc not in {"", "localhost"}:
            raise UserError(
                f"the data {source.name} is on another machine: {text}",
                hint=f"a local path has three slashes: file:///{parts.netloc}{parts.path}",
            )
        text = unquote(parts.path)
    path = Path(os.path.abspath(base / Path(text).expanduser()))  # noqa: PTH100  # keeps links
    if not text or not path.exists():
        near = difflib.get_close_matches(
            path.name, [p.name for p in path.parent.glob("*")], n=1
        )
        raise UserError(
            f"the data {source.name} is not there: {path if text else repr(source.uri)}",
            hint=f"did you mean {near[0]}?" if text and near else "check the path",
        )
    if not path.is_file() and not path.is_dir():
        raise UserError(
            f"the data {source.name} is neither a file nor a folder: {path}",
            hint="give a file or a folder",
        )
    return path


def _digest(path: Path) -> tuple[str, int]:
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest(), path.stat().st_size
    whole, size = hashlib.sha256(), 0
    for relative in sorted(_files(path)):
        digest, length = _digest(path / relative)
        whole.update(f"{relative}\0{digest}\n".encode("utf-8", "surrogateescape"))
        size += length
    return whole.hexdigest(), size


def _files(folder: Path) -> Iterator[str]:
    seen = {folder.resolve()}
    # Links are followed, as a notebook would, but not in circles.
    for where, folders, names in os.walk(folder, onerror=_fail, followlinks=True):
        for name in sorted(folders):
            real = Path(where, name).resolve()
            if real in seen:
                folders.remove(name)
            seen.add(real)
        for name in names:
            path = Path(where, name)
            if path.is_file():
                yield path.relative_to(folder).as_posix()
            elif not path.exists():
                raise FileNotFoundError(2, "a link that leads nowhere", str(path))


def _fail(error: OSError) -> None:
    raise error


def _load(source: DataSource, uri: str, target: Path) -> Path:
    """Load to `target/<name of the file or folder>`."""
    import fsspec  # slow to load, and local data needs none of it

    done = target / _file_name(source.uri, source.name)
    if done.exists():
        return done
    part = target / f".{done.name}.part"
    try:
        filesystem, remote = fsspec.core.url_to_fs(source.uri, **_options(source, uri))
        target.mkdir(parents=True, exist_ok=True)
        _remove(part)
        if _is_folder(filesystem, remote):
            _load_folder(filesystem, remote, part)
        else:
            _load_file(filesystem, remote, part)
        part.rename(done)
    except _errors() as error:
        # Without its cause: that one may show the credentials in the address.
        raise _explained(error, source, uri) from None
    return done


def _options(source: DataSource, uri: str) -> dict[str, Any]:
    """Tell fsspec to give up on a server that does not answer, and to keep no listings."""
    if _scheme(source.uri) in _WEB:
        from aiohttp import ClientTimeout  # as fsspec

        timeout = ClientTimeout(total=None, connect=20, sock_read=60)
        return {
            "skip_instance_cache": True,
            "client_kwargs": {"timeout": timeout},
            # What is quoted already may be signed as it stands.
            "encoded": "%" in source.uri,
        }
    if "@" in source.uri.partition("://")[2].partition("/")[0]:
        raise UserError(
            f"the data {source.name} has credentials in its address: {uri}",
            hint="put them into AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or ~/.aws",
        )
    retries = {"max_attempts": 2}
    return {
        "skip_instance_cache": True,
        "use_listings_cache": False,
        "config_kwargs": {"connect_timeout": 10, "read_timeout": 60, "retries": retries},
    }


def _file_name(uri: str, otherwise: str) -> str:
    """Name the local file as the remote one: readers go by its ending."""
    last = unquote(urlsplit(uri).path.rstrip("/").rpartition("/")[2])
    clean = "".join(c if c.isprintable() and c not in "/\\:" else "_" for c in last)[-80:]
    return clean.lstrip(".") or otherwise


def _is_folder(filesystem: Any, remote: str) -> bool:
    # A web server has files only; what it lists of a folder is a page for people.
    if "http" in filesystem.protocol:
        return False
    return bool(filesystem.info(remote)["type"] == "directory")


def _load_folder(filesystem: Any, remote: str, part: Path) -> None:
    root = remote.rstrip("/") + "/"
    part.mkdir()
    for path in filesystem.find(remote):
        # Some tools mark folders with empty objects whose names end with a slash.
        relative = path.removeprefix(root)
        if not relative or relative.endswith("/"):
            continue
        target = part / relative
        if not Path(os.path.normpath(target)).is_relative_to(part):
            raise UserError(
                f"the object {path!r} has a name that no file can have", hint="rename it"
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        _load_file(filesystem, path, target)


def _load_file(filesystem: Any, remote: str, part: Path) -> None:
    if "http" in filesystem.protocol:
        filesystem.get_file(remote, str(part))
    else:
        # One request a file: parts asked for at once take memory, and need not be of one file
        # if it is written meanwhile.
        filesystem.get_file(remote, str(part), max_concurrency=1)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _errors() -> tuple[type[Exception], ...]:
    """Give what can go wrong on the way; the client libraries have roots of their own."""
    found: list[type[Exception]] = [OSError, ValueError, ImportError]
    for module, root in (("aiohttp", "ClientError"), ("botocore.exceptions", "BotoCoreError")):
        if module in sys.modules:
            found.append(getattr(sys.modules[module], root))
    return tuple(found)


def _explained(error: Exception, source: DataSource, uri: str) -> MlopsError:
    what, status = f"the data {source.name} at {uri}", getattr(error, "status", 0)
    kind = type(error).__name__
    # Not str(error) alone: it may quote the address with its credentials.
    said = str(error).replace(source.uri, uri) or kind
    if isinstance(error, ImportError):
        return UserError(
            f"{what} needs a package: {said}", hint="pip install 'fsspec[http,s3]'"
        )
    if isinstance(error, FileNotFoundError) or status in {404, 410}:
        return UserError(f"{what} is not there", hint="check the address")
    if isinstance(error, PermissionError) or status in {401, 403} or "Credentials" in kind:
        return NotAllowed(f"{what} was refused{_code(status)}", hint=_access(uri))
    if status:
        broken = BackendUnavailable if status in {429, 502, 503, 504} else BackendError
        return broken(f"{what} could not be loaded: HTTP {status}", hint="try again later")
    if isinstance(error, TimeoutError | ConnectionError) or _UNREACHED.search(kind):
        return BackendUnavailable(
            f"{what} does not answer: {said}", hint="check the address and the network"
        )
    return BackendError(f"{what} could not be loaded: {said}", hint="check the address")


def _code(status: int) -> str:
    return f": HTTP {status}" if status else ""


def _access(uri: str) -> str:
    if _scheme(uri) in _S3:
        return "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
    return "give an address that you may read, e.g. a new signed one"
