from __future__ import annotations

import pytest

from mlops_nb.core.settings import Settings, parse_settings, template
from mlops_nb.errors import BadSettings, NotFound


def read(text: str) -> Settings:
    return parse_settings(text, path="mlops.toml", default_name="churn")


def test_an_empty_file_gives_the_defaults() -> None:
    settings = read("")
    assert settings.name == "churn"
    assert settings.tracking_uri == ""
    assert not settings.environments


def test_the_template_says_what_the_defaults_are() -> None:
    settings = read(template("churn", ".mlops/gitops.git", "mlserver@sha256:" + "0" * 64))
    defaults = read("")
    assert settings.tracking_uri == defaults.tracking_uri
    assert settings.artifacts == defaults.artifacts
    assert settings.branch == defaults.branch
    assert settings.repository == ".mlops/gitops.git"
    prod = settings.environment("prod")
    assert prod.alias == "champion"
    assert prod.canary.weights == (5, 25, 50, 100)


def test_every_commented_choice_of_the_template_can_be_uncommented() -> None:
    text = template("churn", "g.git", "i@sha256:" + "0" * 64)
    lines = [
        line.removeprefix("# ") if line.startswith(("# kernel", "# timeout", "# cell", "# mem",
                                                    "# [models", "# gates", "# uri")) else line
        for line in text.splitlines()
    ]  # fmt: skip
    settings = read("\n".join(lines))
    assert settings.limits.timeout == 7200
    assert settings.limits.cell_timeout == 1800
    assert settings.limits.memory == 8 * 1024**3
    assert settings.kernel == "python3"
    assert settings.tracking_uri == "https://mlflow.example.com"
    assert len(settings.gates["churn"]) == 3
    assert settings.environment("prod").gates == ("accuracy >= 0.95",)


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("[trackng]", "unknown key trackng", "did you mean tracking?"),
        ("[tracking]\nurl = 'x'", "unknown key tracking.url", "did you mean tracking.uri?"),
        ("[tracking]\nuri = 3", "tracking.uri = 3: not a text", "mend tracking.uri"),
        ("[run]\ntimeout = 'soon'", "run.timeout = 'soon'", "mend run.timeout"),
        ("[models.churn]\ngates = 'x >= 1'", "models.churn.gates", "mend models.churn.gates"),
        ("[models.churn]\ngates = ['x >>= 1']", "models.churn.gates", ""),
        (
            "[environments.prod]\nreplicas = '3'",
            "environments.prod.replicas = '3': not int",
            "",
        ),
        ("[environments.prod]\ncanary = [50, 25]", "do not rise to 100 %", ""),
        ("[environments.prod]\ncanary = ['a']", "environments.prod.canary", ""),
        ("environments = 1", "environments = 1: not a table", ""),
        ("[project", "mlops.toml: ", "mend the line"),
    ],
)
def test_a_wrong_setting_names_file_key_and_value(text: str, message: str, hint: str) -> None:
    with pytest.raises(BadSettings) as error:
        read(text)
    assert error.value.message.startswith("mlops.toml: ")
    assert message in error.value.message
    assert hint in error.value.hint


def test_an_unknown_environment_is_told_with_the_known_ones() -> None:
    settings = read("[environments.prod]\n[environments.staging]")
    with pytest.raises(NotFound, match=r"no environment 'prd'; configured: prod, staging") as e:
        settings.environment("prd")
    assert e.value.hint == "did you mean 'prod'?"
