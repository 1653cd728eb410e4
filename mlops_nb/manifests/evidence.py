"""What a reviewer reads: the body of a deployment pull request and its diff."""

from __future__ import annotations

import difflib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlops_nb.core.delivery import Kept
from mlops_nb.manifests.markdown import Code, code, prose, table
from mlops_nb.manifests.traffic import HEAD, notes, steps_of_traffic, warnings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime

    from mlops_nb.core.change import LockFile
    from mlops_nb.core.evidence import Beside, Evidence, Measured, Security
    from mlops_nb.core.gate import Check, Verdict
    from mlops_nb.core.rollout import Rollout

_MARKER = re.compile(r"<!-- mlops-nb: (\{.*\}) -->")
# Forges refuse bodies above 65,536 characters.
_LONGEST_DIFF = 40_000
_RENDERED = (
    "Files were edited since, so that `git revert` would stop with a conflict: the record of "
    "version {version} is rendered into them as they are now. It takes back:"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Meets:
    """What a return to an earlier version would meet.

    Args:
        traffic: whether steps run again, Markdown.
        model: whether pods can still fetch the version.
        image: whether they can still pull its image.
        is_rendered: whether files were edited since, so that no revert fits.
    """

    traffic: str
    model: Kept
    image: Kept
    is_rendered: bool = False


def pull_request_body(
    evidence: Evidence,
    *,
    requested: datetime | None = None,
    diff: str = "",
    model: Kept | None = None,
    image: Kept | None = None,
) -> str:
    """Write the evidence for a deployment as Markdown, hidden marker included.

    Args:
        evidence: what speaks for it.
        requested: when it was asked for.
        diff: the change as a unified diff.
        model: whether the files of the version before are still there.
        image: likewise, its image.
    """
    sections = (
        _summary(evidence, requested),
        _code(evidence),
        _parameters(evidence),
        _metrics(evidence),
        _data(evidence),
        _gates(evidence.verdict),
        _canary(evidence),
        _security(evidence),
        _rollback(evidence, model, image),
        _folded(diff),
        (marker(_marked(evidence.previous, evidence.lock)),),
    )
    return "\n\n".join("\n".join(section) for section in sections) + "\n"


def rollback_body(
    live: LockFile,
    target: LockFile,
    reverted: Iterable[str],
    *,
    meets: Meets,
    requested_by: str,
    reason: str,
    diff: str,
    because: Rollout | None = None,
) -> str:
    """Write the evidence for a return as Markdown, hidden marker included.

    Args:
        live: record of the version to leave.
        target: record of the version to return to.
        reverted: commits that are reverted, a line each.
        meets: what the return would meet.
        requested_by: who asks.
        reason: why, in their words; empty if they gave none.
        diff: the change as a unified diff.
        because: the rollout whose abort it answers; None if a person asked for it.
    """
    head = f"{prose(live.model)}: back from {live.version} to {target.version}"
    rows = (
        ("version", Code(live.uri), Code(target.uri)),
        ("model digest", Code(live.digest), Code(target.digest)),
        ("server image", Code(live.image), Code(target.image)),
    )
    hidden = {
        **_marked(live, target),
        "action": "rollback",
        "requested_by": requested_by,
        "reason": reason,
    }
    if because is not None:
        hidden["abort"] = because.identity
    sections: tuple[Iterable[str], ...] = (
        (f"## {head} in {prose(live.environment)}",),
        table(("", "now", "after the merge"), rows),
        (
            f"Requested by {prose(requested_by)}.",
            f"Reason: {prose(reason) or 'none was given.'}",
        ),
        *((_showed(because),) if because and because.failing else ()),
        (
            _RENDERED.format(version=target.version) if meets.is_rendered else "It reverts:",
            "",
            *(f"- {prose(line)}" for line in reverted),
        ),
        _met(live, target, meets),
        _folded(diff),
        (marker(hidden),),
    )
    return "\n\n".join("\n".join(section) for section in sections) + "\n"


def _met(live: LockFile, target: LockFile, meets: Meets) -> Iterator[str]:
    yield "### What the return meets"
    yield ""
    yield f"- Traffic: {meets.traffic} A canary that is still running is ended."
    yield f"- {model_line(f'{target.model}/{target.version}', meets.model)}"
    same = " It is the same as now." if target.image == live.image else ""
    yield f"- {image_line(meets.image)}{same}"


def _showed(rollout: Rollout) -> Iterator[str]:
    yield "### What the canary showed"
    yield ""
    rows = [
        (Code(m.metric), str(m.phase), m.judged or m.message or "no data", str(m.count))
        for m in rollout.failing
    ]
    yield from table(("metric", "outcome", "measured", "measurements"), rows)
    for measured in rollout.failing:
        if measured.query:
            yield ""
            yield f"{code(measured.metric)} was asked for by:"
            yield ""
            yield from (f"    {line}" for line in measured.query.strip().splitlines())


def marker(values: Mapping[str, object]) -> str:
    """Hide values in Markdown so that `read_marker` finds them."""
    text = json.dumps(values, sort_keys=True).replace("<", "\\u003c").replace(">", "\\u003e")
    return f"<!-- mlops-nb: {text} -->"


def read_marker(body: str) -> Mapping[str, Any]:
    """Give what `marker` hid; nothing where it was removed or broken."""
    match = _MARKER.search(body)
    try:
        values = json.loads(match[1]) if match else {}
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}


def unified_diff(before: Mapping[str, bytes], after: Mapping[str, bytes | None]) -> str:
    """Give the change as `git diff` would show it.

    Args:
        before: files on base, by path; a path that is missing is new.
        after: files as proposed, by path; None is deleted.
    """
    parts: list[str] = []
    for path, content in sorted(after.items()):
        old = before.get(path)
        if old == content:
            continue
        parts += difflib.unified_diff(
            (old or b"").decode(errors="replace").splitlines(),
            (content or b"").decode(errors="replace").splitlines(),
            fromfile="/dev/null" if old is None else f"a/{path}",
            tofile="/dev/null" if content is None else f"b/{path}",
            lineterm="",
        )
    return "\n".join(parts) + "\n" if parts else ""


def _summary(evidence: Evidence, requested: datetime | None) -> Iterator[str]:
    lock, previous = evidence.lock, evidence.previous
    old = f"{previous.version}" if previous else "nothing"
    before = (previous.uri, previous.digest, previous.image) if previous else ("", "", "")
    yield f"## {prose(lock.model)}: {old} → {lock.version} in {prose(lock.environment)}"
    yield ""
    yield from table(
        ("", "before", "after"),
        [
            ("version", Code(before[0]), Code(lock.uri)),
            ("model digest", Code(before[1]), Code(lock.digest)),
            ("server image", Code(before[2]), Code(lock.image)),
        ],
    )
    yield ""
    when = f" on {requested:%Y-%m-%d %H:%M %Z}" if requested else ""
    yield f"Requested by {prose(lock.requested_by) or 'nobody known'}{when.rstrip()}."


def _code(evidence: Evidence) -> Iterator[str]:
    lock = evidence.lock
    why = evidence.code_note or "the notebook was in no Git repository"
    yield "### Where it comes from"
    yield ""
    yield from table(
        ("", ""),
        [
            ("run", Code(lock.run)),
            ("MLflow run", Code(lock.tracking_id)),
            ("tracking server", Code(lock.tracking_uri)),
            ("notebook", Code(lock.notebook, without="unknown")),
            ("notebook digest", Code(lock.notebook_digest, without="unknown")),
            ("commit", Code(lock.code_commit, without=f"unknown: {why}")),
            ("repository", Code(lock.code_repository, without="unknown")),
        ],
    )
    if evidence.is_dirty:
        yield ""
        yield (
            "> ⚠️ **The notebook's repository had uncommitted changes**: the commit alone does "
            "not give this model again. The difference is kept with the run."
            + (f" Besides: {prose(evidence.code_note)}." if evidence.code_note else "")
        )


def _parameters(evidence: Evidence) -> Iterator[str]:
    yield "### Parameters that changed" if evidence.previous else "### Parameters"
    yield ""
    if evidence.changed:
        yield from table(
            ("parameter", "before", "after"),
            [
                (
                    Code(each.name),
                    _valued(each.before, is_default=each.was_default),
                    _valued(each.after, is_default=each.is_default),
                )
                for each in evidence.changed
            ],
        )
    elif evidence.previous:
        yield "None."
    else:
        yield "None but data, listed below." if evidence.datasets else "None were given."


def _valued(value: str, *, is_default: bool) -> Code:
    """Give a parameter's value, marked where it is the notebook's own."""
    return Code(value, note="(default)" if is_default else "")


def _metrics(evidence: Evidence) -> Iterator[str]:
    yield "### Metrics"
    yield ""
    if not evidence.metrics:
        yield "The run logged none."
        return
    head = ["metric"]
    for other in evidence.beside:
        head += [f"{other.role} ({other.version})", "difference"]
    head[1:1] = ["this version"]
    yield from table(
        head,
        [
            (
                Code(name),
                _measured(measured, has_rows=evidence.has_rows),
                *(cell for other in evidence.beside for cell in _beside(name, other)),
            )
            for name, measured in sorted(evidence.metrics.items())
        ],
    )
    yield ""
    yield (
        "Each with its 95 % interval, a difference with that of both on the same rows. Where "
        "“no rows” stands, the run logged no evaluation table."
    )
    for other in evidence.beside:
        if other.note:
            yield f"Of {code(other.version)}: {prose(other.note)}."


def _beside(name: str, other: Beside) -> tuple[str, str]:
    measured = _measured(other.metrics.get(name), has_rows=other.has_rows)
    difference = other.differences.get(name)
    if difference is None:
        return measured, "-"
    return measured, f"{difference.value:+.4g}{_interval(difference, '+.4g')}"


def _measured(measured: Measured | None, *, has_rows: bool) -> str:
    if measured is None:
        return "-"
    without = " (as logged)" if has_rows else " (no rows)"
    return f"{_number(measured.value)}{_interval(measured) or without}"


def _interval(measured: Measured, form: str = ".4g") -> str:
    if measured.low is None or measured.high is None:
        return ""
    return f" ({measured.low:{form}} to {measured.high:{form}})"


def _data(evidence: Evidence) -> Iterator[str]:
    yield "### Data"
    yield ""
    if evidence.datasets:
        rows = [
            (Code(d.name), Code(d.digest), _count(d.rows), Code(d.uri))
            for d in evidence.datasets
        ]
        yield from table(("name", "digest", "rows", "uri"), rows)
    else:
        yield "> ⚠️ No dataset was recorded: what this model learned from cannot be told."


def _count(rows: int | None) -> str:
    return "not counted" if rows is None else f"{rows:,}"


def _gates(verdict: Verdict) -> Iterator[str]:
    passed = sum(check.outcome == "passed" for check in verdict.checks)
    yield f"### Gates: {passed} of {len(verdict.checks)} passed"
    yield ""
    if not verdict.checks:
        yield "> ⚠️ No gate is set for this model or environment: nothing was judged."
        return
    yield from table(
        ("gate", "value", "95 % interval", "threshold", "against", "rows", "result"),
        [_check(check) for check in verdict.checks],
    )


def _check(check: Check) -> tuple[str | Code, ...]:
    known = check.low is not None and check.high is not None
    return (
        Code(check.gate),
        _number(check.value),
        f"{_number(check.low)} to {_number(check.high)}" if known else "-",
        _number(check.threshold),
        Code(check.baseline),
        str(check.n or "-"),
        f"{check.outcome}: {check.reason}" if check.reason else str(check.outcome),
    )


def _canary(evidence: Evidence) -> Iterator[str]:
    yield "### Traffic"
    yield ""
    for warning in warnings(evidence):
        yield f"> ⚠️ {warning}"
        yield ""
    yield from table(HEAD, steps_of_traffic(evidence.environment))
    yield ""
    yield " ".join(notes(evidence.environment))


def _security(evidence: Evidence) -> Iterator[str]:
    lock, security = evidence.lock, evidence.security
    is_routed = evidence.environment.is_routed
    came_from = "the gateway" if is_routed else "pods of its namespace"
    yield "### Security"
    yield ""
    yield f"- Model format: {prose(security.flavor) or 'unknown'}." + (
        " ⚠️ **Loading it runs pickled code**; this environment allows that (`allow_pickle`)."
        if security.uses_pickle
        else " Loading it runs no pickled code."
    )
    before = security.registry_before
    is_new = before and before != security.image_registry
    yield (
        f"- Image from {prose(security.image_registry)}, "
        + ("pinned by digest." if security.is_pinned else "⚠️ **by tag, which can be moved**.")
        + (f" ⚠️ **Another registry than before**: {prose(before)}." if is_new else "")
    )
    yield "- Model digest recorded: " + (f"`{lock.digest}`." if lock.digest else "⚠️ **none**.")
    yield "- Signature: " + (
        f"{code(security.signature)} is among the model's files; pods check the digest, not it."
        if security.signature
        else "none; pods hold the model's files against the digest."
    )
    yield (
        "- Pod as generated: not root, read-only file system, no capabilities, no service "
        f"account token; network: in from {came_from} and monitoring."
    )
    yield from _ways(security)
    if not security.is_reachable:
        yield (
            f"- ⚠️ **The tracking store {code(lock.tracking_uri)} is on one machine only: "
            "a pod cannot download the model from it.**"
        )
    if security.secrets:
        yield f"- ⚠️ **A Secret is in Git**: {', '.join(map(code, security.secrets))}"


def _ways(security: Security) -> Iterator[str]:
    """Tell where pods may send to, and what of that is another than before."""
    now, before = security.ways_out, security.ways_out_before
    shown = "; ".join(map(prose, now)) or "none"
    if not security.registry_before or now == before:
        same = " The same as now." if security.registry_before else ""
        yield f"- Ways out: {shown}.{same}"
        return
    new = [prose(way) for way in now if way not in before]
    gone = [prose(way) for way in before if way not in now]
    yield f"- Ways out: {shown}."
    if new:
        yield f"- ⚠️ **New ways out**: {'; '.join(new)}."
    if gone:
        yield f"- No way out any more: {'; '.join(gone)}."


def _rollback(evidence: Evidence, model: Kept | None, image: Kept | None) -> Iterator[str]:
    yield "### Way back"
    yield ""
    previous = evidence.previous
    if not evidence.way_back or previous is None:
        yield "There is no earlier version: the way back is to revert the merge of this."
        return
    yield f"{code(evidence.way_back)} proposes the git revert. When this was asked for:"
    yield ""
    if model is not None:
        yield f"- {model_line(f'{previous.model}/{previous.version}', model)}"
    if image is not None:
        yield f"- {image_line(image)}"


def model_line(version: str, kept: Kept) -> str:
    """Say whether a version's files are still there, Markdown."""
    if kept.is_there:
        return f"Model: {prose(version)} is in the registry under the same digest, with files."
    if kept.is_there is None:
        doubt = f"whether {version} can still be fetched could not be told"
        return f"Model: ⚠️ **{prose(doubt)}**: {prose(kept.why)}."
    return f"Model: ⛔ **GONE: {prose(kept.why)}. Pods could not fetch it.**"


def image_line(kept: Kept) -> str:
    """Say whether a version's image is still there, Markdown."""
    if kept.is_there:
        return "Server image: its registry has it."
    if kept.is_there is None:
        return f"Server image: ⚠️ whether it can be pulled could not be told: {prose(kept.why)}."
    return f"Server image: ⛔ **GONE: {prose(kept.why)}. New pods could not pull it.**"


def _folded(diff: str) -> Iterator[str]:
    if len(diff) > _LONGEST_DIFF:
        diff = diff[:_LONGEST_DIFF].rpartition("\n")[0] + "\n… cut: see the files changed\n"
    longest = max((len(run) for run in re.findall(r"`{3,}", diff)), default=2)
    fence = "`" * (longest + 1)
    yield "<details><summary>Manifest diff</summary>"
    yield ""
    yield f"{fence}diff"
    yield f"{diff}{fence}"
    yield ""
    yield "</details>"


def _marked(live: LockFile | None, lock: LockFile) -> dict[str, object]:
    return {
        "action": "deploy",
        "model": lock.model,
        "version": lock.version,
        "digest": lock.digest,
        "environment": lock.environment,
        "previous": live.version if live else 0,
        "requested_by": lock.requested_by,
    }


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
