"""Credentials are found where they are, and only there; known ones never reach the page."""

from __future__ import annotations

import base64
import html
import json
import subprocess
import sys
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_nb.redaction import PLACEHOLDER, SHORTEST, Redactor, find_credential, strip_userinfo

if TYPE_CHECKING:
    from collections.abc import Callable

# Put together here, so that no scanner takes this file for a leak.
GITHUB = "ghp_" + "a1B2" * 9
GITLAB = "glpat-" + "a1B2" * 5
JWT = "eyJhbGciOiJIUzI1NiJ9." + "eyJzdWIiOiIxMjMifQ." + "dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P"
SIGNED_S3 = (
    "https://bucket.s3.amazonaws.com/train.csv?X-Amz-Algorithm=AWS4-HMAC-SHA256"
    "&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20260101%2Feu-west-1%2Fs3%2Faws4_request"
    "&X-Amz-Date=20260101T000000Z&X-Amz-Expires=300&X-Amz-SignedHeaders=host"
    "&X-Amz-Signature=fe5f80f77d5fa3beca038a248ff027"
)

ORDINARY = [
    ("path", "data/train.csv"),
    ("path", "/home/anna/Projekte/Übung 3/größen.parquet"),
    ("path", r"C:\Users\anna\data.csv"),
    ("digest", "sha256:" + "a3" * 32),
    ("digest", "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"),
    ("commit", "da39a3ee5e6b4b0d3255bfef95601890afd80709"),
    ("model", "distilbert-base-uncased"),
    ("model", "meta-llama/Llama-3.1-8B-Instruct"),
    ("model", "APACregion2024"),
    ("model", "models:/churn/7"),
    ("run", "550e8400-e29b-41d4-a716-446655440000"),
    ("run", "550e8400e29b41d4a716446655440000"),
    ("title", "The password is not used here, nor is any token."),
    ("prompt", "Ask for the api key: never print it."),
    ("options", "tokenizer=bert"),
    ("options", "max_tokens=100;stop=END"),
    ("tokenizer", "bert-base-cased"),
    ("max_tokens", "512"),
    ("token_count", "17"),
    ("pad_token", "[PAD]"),
    ("eos_token", "</s>"),
    ("mask_token", "MASK"),
    ("token", "<unk>"),
    ("target", "secret_ballot"),
    ("password_column", "pwd_hash"),
    ("secret_name", "warehouse"),
    ("key", "customer_id"),
    ("private_key", "/home/anna/.ssh/id_ed25519"),
    ("credentials", "service-account.json"),
    ("token", "secret:HF_TOKEN"),
    ("password", ""),
    ("password", "None"),
    ("image", "oci://registry.example.com:5000/serve@sha256:" + "ab" * 32),
    ("image", "registry.example.com/serve@sha256:" + "ab" * 32),
    ("uri", "s3://bucket/key/file.csv"),
    ("uri", "postgresql://db.example.com:5432/prod"),
    ("uri", "postgresql://reader@db.example.com/prod"),
    ("uri", "postgresql://reader:${PGPASSWORD}@db.example.com/prod"),
    ("uri", "https://example.com/data.csv?version=3&tokens=5"),
    ("uri", "git@github.com:org/repo.git"),
    ("uri", "ssh://git@github.com/org/repo.git"),
    ("mail", "anna@example.com"),
    ("date", "2026-01-01T00:00:00Z"),
    ("lr", "0.001"),
]

CREDENTIALS = [
    ("x", "AKIA" + "IOSFODNN7EXAMPLE", "AWS Access Key"),
    ("x", GITHUB, "GitHub Token"),
    ("x", "github_pat_" + "a1B2" * 10, "GitHub token"),
    ("x", GITLAB, "GitLab Token"),
    ("x", JWT, "JSON Web Token"),
    ("x", "hf_" + "aB" * 17, "Hugging Face token"),
    ("x", "sk-ant-" + "api03-" + "aB3" * 10, "Anthropic API key"),
    ("x", "AIza" + "aB3-_" * 7, "Google API key"),
    ("x", "-----BEGIN RSA PRIVATE" + " KEY-----\nMIIE\n", "Private Key"),
    ("x", f"use {GITHUB} for it", "GitHub Token"),
    ("headers", "Bearer abc123def456ghi789", "Bearer token"),
    ("config", "first line\npassword = 'hunter2'", "Secret Keyword"),
    ("dsn", "Server=db;Database=prod;Password=hunter2", "connection string with a password"),
    ("uri", "https://anna:hunter2@example.com/x.csv", "URL with a password"),
    ("uri", "simplecache::s3://key:hunter2@bucket/x.csv", "URL with a password"),
    ("uri", "https://0123456789abcdef0123@example.com/x.csv", "URL with a token"),
    ("uri", SIGNED_S3, "signed URL"),
    ("uri", "https://a.blob.core.windows.net/c/x.csv?sv=2022&sig=abc%3D", "signed URL"),
    ("uri", "https://example.com/x.csv?access_token=abc", "URL with a token"),
    ("password", "hunter2", "password"),
    ("DB_PASSWORD", "hunter2", "password"),
    ("token", "abc", "token"),
    ("hfToken", "abc", "token"),
    ("api_key", "abc", "api key"),
    ("apiKey", "abc", "api key"),
    ("aws_secret_access_key", "abc/def", "access key"),
    ("client-secret", "abc", "secret"),
]


@pytest.mark.parametrize(("name", "text"), ORDINARY)
def test_an_ordinary_value_is_let_through(name: str, text: str) -> None:
    assert find_credential(name, text) == ""


@pytest.mark.parametrize(("name", "text", "kind"), CREDENTIALS)
def test_a_credential_is_named_by_its_kind(name: str, text: str, kind: str) -> None:
    assert find_credential(name, text) == kind


def test_a_short_plain_value_costs_no_library() -> None:
    code = (
        "import sys; from mlops_nb.redaction import Redactor, find_credential;"
        "find_credential('lr', '0.1'); Redactor(['hunter2'])('hunter2');"
        "sys.exit('detect_secrets' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("url", "clean"),
    [
        ("https://anna:hunter2@example.com/r.git", "https://example.com/r.git"),
        (f"https://{GITHUB}@example.com:8443/r.git", "https://example.com:8443/r.git"),
        ("https://oauth2:p@ss@example.com/r.git", "https://example.com/r.git"),
        ("https://anna:p/w@example.com/r.git", "https://example.com/r.git"),
        ("https://@example.com/r.git", "https://example.com/r.git"),
        ("ssh://git:pw@example.com:22/r.git", "ssh://git@example.com:22/r.git"),
        ("ssh://git@example.com/r.git", "ssh://git@example.com/r.git"),
        ("git@github.com:org/repo.git", "git@github.com:org/repo.git"),
        ("/srv/git/a@b.git", "/srv/git/a@b.git"),
        ("file:///srv/git/a@b.git", "file:///srv/git/a@b.git"),
        ("https://example.com:8080/a@b?c=d#e", "https://example.com:8080/a@b?c=d#e"),
        ("oci://h:5000/serve@sha256:ab", "oci://h:5000/serve@sha256:ab"),
        ("postgresql://u:p@h/db?sslmode=require", "postgresql://h/db?sslmode=require"),
        (SIGNED_S3, "https://bucket.s3.amazonaws.com/train.csv"),
        ("https://h/x?v=1&token=abc&page=2", "https://h/x?v=1&page=2"),
        ("https://h/x?%74oken=abc", "https://h/x"),
        ("https://h/x#access_token=abc&a=b", "https://h/x#a=b"),
        ("https://h/x?", "https://h/x?"),
        ("zip://a.csv::https://u:p@h/a.zip?sig=x", "zip://a.csv::https://h/a.zip"),
    ],
)
def test_a_url_loses_its_credentials_and_nothing_else(url: str, clean: str) -> None:
    assert strip_userinfo(url) == clean


words = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=12)


@settings(deadline=None)
@given(user=words, password=st.text(min_size=1, max_size=20), host=words, path=words)
def test_no_quoted_password_survives(user: str, password: str, host: str, path: str) -> None:
    inner = f"{host}/{path}?v=1"
    secret = quote(password, safe="", errors="replace")
    clean = strip_userinfo(f"https://{quote(user)}:{secret}@{inner}")
    assert clean == f"https://{inner}"
    assert strip_userinfo(clean) == clean
    assert urlsplit(clean).password is None


@settings(deadline=None)
@given(st.text(max_size=60))
def test_any_text_can_be_judged_and_cleaned(text: str) -> None:
    once = strip_userinfo(text)
    assert len(once) <= len(text)
    find_credential("value", text)


secrets = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\n"),
    min_size=SHORTEST,
    max_size=30,
).filter(lambda s: s == s.strip() and len(s.splitlines()) == 1 and s not in PLACEHOLDER)
FORMS: dict[str, Callable[[str], str]] = {
    "plain": lambda s: s,
    "JSON": lambda s: json.dumps({"a": s}),
    "JSON with umlauts": lambda s: json.dumps({"a": s}, ensure_ascii=False),
    "JSON in JSON": lambda s: json.dumps(json.dumps([s])),
    "Python": repr,
    "HTML": lambda s: f"<b>{html.escape(s)}</b>",
    "URL": lambda s: f"https://u:{quote(s, safe='')}@h/",
    "form": lambda s: f"a=1&b={quote_plus(s)}",
}


@pytest.mark.parametrize("form", FORMS)
@settings(deadline=None)
@given(secret=secrets, before=words, after=words)
def test_a_known_value_is_replaced_in_every_form(
    form: str, secret: str, before: str, after: str
) -> None:
    shown = FORMS[form](secret)
    # A copy that was not in the value's place may be redacted too, the value never stays.
    out = Redactor([secret])(f"{before} {shown} {after}")
    assert shown not in out
    assert secret not in out
    assert PLACEHOLDER in out


@settings(deadline=None)
@given(secret=st.text(min_size=SHORTEST, max_size=30, alphabet="abcXYZ019/+é"), shift=words)
def test_base64_of_a_longer_text_is_covered(secret: str, shift: str) -> None:
    code = base64.b64encode(f"{shift}:{secret}:end".encode()).decode()
    out = Redactor([secret])(code)
    assert PLACEHOLDER in out
    for piece in out.split(PLACEHOLDER):
        assert len(piece) < len(code) - len(secret)


@settings(deadline=None)
@given(text=st.text(alphabet="ab ", max_size=60), values=st.lists(st.text("ab", min_size=6)))
def test_overlapping_values_leave_no_rest(text: str, values: list[str]) -> None:
    out = Redactor(values)(text)
    assert all(value not in out for value in values)


def test_what_overlaps_is_replaced_as_a_whole() -> None:
    assert Redactor(["abcdefgh", "efghijkl"])("x abcdefghijkl y") == f"x {PLACEHOLDER} y"
    assert Redactor(["ababab"])("abababab!") == f"{PLACEHOLDER}!"


def test_each_line_of_a_key_file_is_covered_alone() -> None:
    key = "-----BEGIN X-----\nMIIEowIBAAKCAQEA7\nsecondlineofit\n-----END X-----\n"
    out = Redactor([key])("+MIIEowIBAAKCAQEA7\n+secondlineofit\n+harmless")
    assert out == f"+{PLACEHOLDER}\n+{PLACEHOLDER}\n+harmless"


def test_a_value_read_with_its_newline_is_found_without() -> None:
    assert Redactor(["hunter2\n"])("pw=hunter2;") == f"pw={PLACEHOLDER};"


def test_text_without_the_values_is_handed_back_unchanged() -> None:
    text = "epoch 1 " * 1000
    assert Redactor(["hunter2", "abc", ""])(text) is text


def test_short_values_do_not_ruin_the_text() -> None:
    assert Redactor(["1", "test", "a"])("a test of 1") == "a test of 1"


def test_many_megabytes_are_cleaned_completely() -> None:
    text = "loss 0.5 accuracy 0.93 token hunter2hunter2\n" * 300_000
    out = Redactor(["hunter2hunter2", "other-secret"])(text)
    assert out.count(PLACEHOLDER) == 300_000
    assert "hunter2" not in out
