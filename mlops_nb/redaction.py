"""Keeps credentials out of what is written: finds them in literals, removes them from text."""

from __future__ import annotations

import base64
import html
import json
import re
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus, unquote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

PLACEHOLDER = "[redacted]"

SHORTEST = 6
"""Characters a secret must have. A shorter one turns up by chance in numbers, words and
pictures, and redacting it would ruin them: `Redactor` ignores it, `look_up` refuses it."""

_NAMES = {
    "apikey", "credential", "credentials", "passphrase", "passwd", "password", "passwort",
    "pwd", "secret", "secretkey", "secrets", "token",
}  # fmt: skip
_NAME_PAIRS = {
    ("access", "key"), ("account", "key"), ("api", "key"), ("auth", "key"), ("client", "key"),
    ("db", "pass"), ("encryption", "key"), ("key", "pass"), ("private", "key"),
    ("secret", "key"), ("service", "key"), ("signing", "key"), ("user", "pass"),
}  # fmt: skip
# What a tokenizer calls tokens are words of its vocabulary: pad_token = "[PAD]".
_VOCABULARY = {
    "additional", "begin", "bos", "cls", "decoder", "end", "eos", "eot", "first", "image",
    "last", "mask", "missing", "next", "oov", "pad", "padding", "per", "sep", "special",
    "start", "stop", "trigger", "unk", "unknown",
}  # fmt: skip
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_MARKER = re.compile(r"<.*>|\[.*\]")
_FILE = re.compile(r"(~|\.{0,2})/.*|[\w. /\\:-]+\.(crt|json|key|p12|pem|toml|ya?ml)")

# Kinds that detect-secrets does not know.
_TOKENS = {
    "Anthropic API key": r"sk-ant-[\w-]{20,}",
    "Bearer token": r"[Bb]earer (?=\S*\d)[\w.~+/-]{16,}=*",
    "Databricks token": r"dapi[0-9a-f]{32}(-\d)?",
    "GitHub token": r"github_pat_\w{22,}",
    "Google API key": r"AIza[\w-]{35}",
    "Google OAuth token": r"ya29\.[\w-]{20,}",
    "Hugging Face token": r"hf_[A-Za-z0-9]{30,}",
    "npm token": r"npm_[A-Za-z0-9]{36}",
    "OpenAI key": r"sk-(proj|svcacct|admin)-[\w-]{20,}",
}
# Entropy alone flags every digest, and an address is no credential. Artifactory's pattern takes
# APACregion2024 for a password, basic auth's the digest in oci://host:5000/image@sha256:….
_UNFIT_DETECTORS = {
    "ArtifactoryDetector", "Base64HighEntropyString", "BasicAuthDetector",
    "HexHighEntropyString", "IPPublicDetector",
}  # fmt: skip
_CONNECTION_STRING = re.compile(
    r"(?:^|;)\s*(?:password|pwd|account_?key|shared_?access_?key)\s*=\s*[^;\s]", re.IGNORECASE
)

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+")
_CHAINED = re.compile(r"::(?=[A-Za-z][A-Za-z0-9+.-]*://)")
_NO_PASSWORD = re.compile(
    r"\**|\[redacted\]|x{3,}|\$\{?\w+\}?|%s|\{+[^}]+\}+|<[\w -]+>", re.IGNORECASE
)
_KEEPS_USER = {"ssh", "git+ssh", "ssh+git", "sftp", "scp"}
_SIGNING = ("x-amz-", "x-goog-")
_QUERY_SECRETS = {
    "access_key", "access_token", "accesskey", "api-key", "api_key", "apikey", "auth_token",
    "client_secret", "id_token", "jwt", "key-pair-id", "passwd", "password", "private_token",
    "pwd", "refresh_token", "secret", "sig", "signature", "subscription-key", "token",
    "x-amz-security-token", "x-amz-signature", "x-goog-signature",
}  # fmt: skip
# These travel with a signature and name an account, but open nothing alone.
_QUERY_COMPANIONS = {"awsaccesskeyid", "googleaccessid", "policy"}


def find_credential(name: str, text: str) -> str:
    """Tell what kind of credential a literal looks like.

    Hashes, identifiers and paths are none, however random they look: a known shape counts, a
    URL that carries a password or signature, or a name that says what the value is.

    Args:
        name: the parameter the literal is meant for.
        text: the literal; `secret:NAME` is a reference and no credential.

    Returns:
        The kind in a few words, such as `GitHub Token` or `password`; empty if it is none.
    """
    value = text.strip()
    if not value or is_reference(value):
        return ""
    return _in_url(value) or _by_shape(value) or _by_name(name, value)


def is_reference(text: str) -> bool:
    """Tell whether a value names a secret, `secret:NAME`, instead of being one."""
    return re.fullmatch(r"secret:[\w.\-/]+", text) is not None


def strip_userinfo(url: str) -> str:
    """Remove credentials from a URL: user and password, tokens and signatures in its query.

    The rest stays as it is, byte by byte; an ssh address keeps its user name. Links of a
    chained address (`zip://a.csv::https://…`) are cleaned one by one.
    """
    return "::".join(_strip(link) for link in _CHAINED.split(url))


class Redactor:
    """Replaces secrets' values in text by `[redacted]`.

    Found as they are, and as they look URL-quoted, in base64 (also inside a longer encoded
    text), escaped in JSON, in Python's and in HTML; of a value of several lines each long line
    is found alone too. Text handed over in pieces must be cut between lines.

    Args:
        values: what must not be seen; values below `SHORTEST` characters are ignored.
    """

    def __init__(self, values: Iterable[str]) -> None:
        kept = {v for value in values for v in (value, value.strip()) if len(v) >= SHORTEST}
        self._forms = {form for value in kept for form in _forms(value)}

    def __call__(self, text: str) -> str:
        """Give the text without the values; text without them is given as it is."""
        spans = sorted(span for form in self._forms for span in _occurrences(form, text))
        if not spans:
            return text
        pieces: list[str] = []
        end = 0
        for start, stop in spans:
            if start > end or not pieces:
                pieces += (text[end:start], PLACEHOLDER)
            end = max(end, stop)
        pieces.append(text[end:])
        return "".join(pieces)


def _occurrences(form: str, text: str) -> Iterator[tuple[int, int]]:
    at = text.find(form)
    while at >= 0:
        yield at, at + len(form)
        # Overlapping ones count: of "ababab" in "abababab" no tail may stay.
        at = text.find(form, at + 1)


def _forms(value: str) -> Iterator[str]:
    lines = value.splitlines()
    for plain in {value, *(line.strip() for line in lines if len(lines) > 1)}:
        if len(plain) < SHORTEST:
            continue
        yield plain
        yield from _escaped(plain)
        yield from _base64(plain.encode(errors="surrogatepass"))


def _escaped(value: str) -> Iterator[str]:
    for encode in (_json, _json_ascii, _python):
        once = encode(value)
        yield once
        yield _json(once)
    yield html.escape(value)
    yield html.escape(value, quote=False)
    data = value.encode(errors="surrogatepass")
    for quoted in (quote(data), quote(data, safe=""), quote_plus(data)):
        yield quoted
        yield re.sub(r"%[0-9A-F]{2}", lambda m: m[0].lower(), quoted)


def _json(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)[1:-1]


def _json_ascii(value: str) -> str:
    return json.dumps(value)[1:-1]


def _python(value: str) -> str:
    return repr(value)[1:-1]


def _base64(data: bytes) -> Iterator[str]:
    # Inside a longer text the value may begin at any of three places in a group of characters;
    # those it shares with its neighbours are left away.
    for shift, first in enumerate((0, 2, 3)):
        code = base64.b64encode(b"\0" * shift + data).decode()
        inner = code[first : (shift + len(data)) * 8 // 6]
        if len(inner) > SHORTEST:
            yield inner
            yield inner.replace("+", "-").replace("/", "_")


def _strip(url: str) -> str:
    scheme, user, _, rest = _parts(url)
    if not scheme:
        return url
    kept = f"{user}@" if user and scheme.lower() in _KEEPS_USER else ""
    # Both the query and the fragment may carry tokens.
    pieces = re.split(r"(?=[?#])", rest)
    return f"{scheme}://{kept}{pieces[0]}{''.join(map(_without_secrets, pieces[1:]))}"


def _without_secrets(query: str) -> str:
    mark, parts = query[0], query[1:].split("&")
    kept = [part for part in parts if not _is_secret_query(part)]
    return mark + "&".join(kept) if kept else ""


def _parts(url: str) -> tuple[str, str, str, str]:
    scheme, separator, rest = url.partition("://")
    if not separator:
        return "", "", "", url
    match = re.match(r"[^/?#]*", rest)
    authority = match[0] if match else ""
    userinfo = ""
    if "@" in authority:
        userinfo = authority.rpartition("@")[0]
    elif "@" in rest and re.search(r":\D|:\d+\D", authority):
        # What follows the colon is no port, so it is a password that nobody quoted.
        userinfo = rest.rpartition("@")[0]
    user, _, password = userinfo.partition(":")
    return (
        scheme,
        user,
        password,
        rest[len(userinfo) + 1 :] if userinfo else rest.removeprefix("@"),
    )


def _query_name(part: str) -> str:
    return unquote(part.partition("=")[0]).lower()


def _is_secret_query(part: str) -> bool:
    name = _query_name(part)
    return name in _QUERY_SECRETS | _QUERY_COMPANIONS or name.startswith(_SIGNING)


def _in_url(text: str) -> str:
    for found in _URL.finditer(text):
        for link in _CHAINED.split(found[0]):
            scheme, user, password, rest = _parts(link)
            if password and not _NO_PASSWORD.fullmatch(password):
                return "URL with a password"
            if scheme.lower() in {"http", "https", "git+https"} and len(user) >= 16:
                return "URL with a token"
            for part in re.split("[?&#]", rest)[1:]:
                value = part.partition("=")[2]
                if _query_name(part) in _QUERY_SECRETS and not _NO_PASSWORD.fullmatch(value):
                    return "signed URL" if "sig" in _query_name(part) else "URL with a token"
    return ""


def _by_shape(text: str) -> str:
    for kind, pattern in _TOKENS.items():
        if re.search(rf"(?<![\w-])(?:{pattern})(?![\w-])", text):
            return kind
    if ";" in text and _CONNECTION_STRING.search(text):
        return "connection string with a password"
    # Nothing it knows is shorter, but for quoted assignments; loading it takes half a second.
    if len(text) < 16 and not re.search("[\"'`]", text):
        return ""
    for kind, search in _detectors():
        for line in text.splitlines():
            if any(not is_reference(found) for found in search(line)):
                return kind
    return ""


@cache
def _detectors() -> Sequence[tuple[str, Callable[[str], Iterable[str]]]]:
    from detect_secrets.core.plugins.util import (
        get_mapping_from_secret_type_to_class,
    )

    plugins: Mapping[str, Any] = get_mapping_from_secret_type_to_class()
    return [
        (kind, plugin().analyze_string)
        for kind, plugin in plugins.items()
        if plugin.__name__ not in _UNFIT_DETECTORS
    ]


def _by_name(name: str, value: str) -> str:
    words = [word.lower() for word in _WORD.findall(name)]
    if not words or value.lower() in {"none", "null", "true", "false"}:
        return ""
    last, pair = words[-1], tuple(words[-2:])
    if last == "token" and (_VOCABULARY & set(words[:-1]) or _MARKER.fullmatch(value)):
        return ""
    if pair in _NAME_PAIRS or last.startswith("credential"):
        return "" if _FILE.fullmatch(value) else " ".join(pair)
    return last if last in _NAMES else ""
