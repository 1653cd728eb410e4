"""What a deployment does to the traffic, in words and numbers for its reviewer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops_nb.manifests.kserve import has_canary
from mlops_nb.manifests.servers import SERVERS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlops_nb.core.delivery import Environment
    from mlops_nb.core.evidence import Evidence

HEAD = ("real share", "pods", "analysed for", "needs in all at least")


def steps_of_traffic(environment: Environment) -> Iterator[tuple[str, ...]]:
    """Give a row for each step of the canary, under HEAD."""
    plan, limits = environment.canary, environment.limits
    seconds = plan.share_seconds
    for share in environment.shares:
        is_last = share.weight == 100
        judged = "until a person agrees"
        if environment.target == "kserve":
            judged = "until the next deployment"
        elif seconds:
            judged = f"{seconds / 60:g} min"
        needed = "-"
        if seconds and not is_last and environment.target == "rollout":
            needed = f"{limits.min_requests / (plan.window * share.real / 100):.2g} requests/s"
        asked = "" if share.real == share.weight else f" ({share.weight} % asked for)"
        yield (
            f"{share.real:.3g} %{asked}",
            f"{share.canary} + {share.stable} stable",
            "-" if is_last else judged,
            needed,
        )


def warnings(evidence: Evidence) -> Iterator[str]:
    """Give what is to be read before the table."""
    environment = evidence.environment
    if evidence.previous is None:
        yield (
            "**The first deployment is not a canary.** "
            f"{environment.replicas} pods get all traffic at once; only the gates above guard "
            "it. From the next version on:"
        )
    if environment.target == "kserve":
        if has_canary(environment):
            yield (
                "**KServe judges nothing and ends nothing by itself.** This gives the first "
                f"share; `{_next_line(evidence)}` gives the next, `mlops rollback` none."
            )
        else:
            yield (
                f"**KServe {environment.kserve_version} splits no traffic between versions**: "
                "all of it moves as the new pods become ready."
            )


def notes(environment: Environment) -> Iterator[str]:
    """Give the sentences below the table."""
    peak, stable = environment.peak_pods, environment.replicas
    if environment.target == "kserve":
        yield f"Peak: {peak} pods{_gpus(environment, peak)}."
        return
    if not environment.is_routed:
        yield (
            'Nothing splits the traffic by request (`router = "none"`), so a share is that of '
            f"the pods, and never finer than one of {stable + 1}. "
            f"Peak: {peak} pods{_gpus(environment, peak)}."
        )
    elif environment.dynamic_stable_scale:
        yield (
            "The router splits by request, so shares are real whatever the number of pods. "
            f"Peak: {peak} pods{_gpus(environment, peak)}, because stable pods go as their "
            "traffic goes; a return must start them again."
        )
    else:
        yield (
            "The router splits by request, so shares are real whatever the number of pods. "
            f"Peak: {peak} pods{_gpus(environment, peak)}, because stable keeps its {stable} "
            "to the end."
        )
    yield "Less traffic than needed pauses the rollout; it never promotes."
    yield from _judged(environment)


def _judged(environment: Environment) -> Iterator[str]:
    limits = environment.limits
    server = SERVERS[environment.server or "mlserver"]
    if server.is_llm:
        ratio = (
            f"time to first token at most {limits.ttft_ratio:g} and time per output token at "
            f"most {limits.tpot_ratio:g} times"
        )
    else:
        kind = "mean latency" if server.mean else "p95 latency"
        ratio = f"{kind} at most {limits.p95_ratio:g} times"
    absolute = f" and {limits.p95_seconds:g} s" if limits.p95_seconds else ""
    if environment.canary.minutes:
        points = 100 * limits.error_difference
        yield (
            f"Each share is held against the stable version's: {ratio} as high, failed "
            f"requests at most {points:g} percentage point{'' if points == 1 else 's'} more."
        )
    yield (
        f"From the first step to the last: at most {100 * limits.error_share:g} % failed "
        f"requests{absolute}."
    )
    if environment.quality_job and environment.canary.minutes:
        yield (
            f"A job scores its answers: at least {limits.quality:g}."
            if limits.quality
            else "A job scores its answers; that is observed, not judged (limits.quality is 0)."
        )


def _next_line(evidence: Evidence) -> str:
    weights = evidence.environment.canary.weights
    rest = ",".join(map(str, weights[1:] or weights))
    lock = evidence.lock
    return f"mlops deploy {lock.model}/{lock.version} --to {lock.environment} --canary {rest}"


def _gpus(environment: Environment, pods: int) -> str:
    if not environment.gpu:
        return ""
    return f" and {pods * environment.gpu} {environment.gpu_resource}"
