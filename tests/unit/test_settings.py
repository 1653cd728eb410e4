from __future__ import annotations

import re

import pytest

from mlops_nb.core.profile import Profile, Toleration
from mlops_nb.core.settings import Kubeflow, Settings, parse_settings, template
from mlops_nb.errors import BadSettings, NotFound, UserError


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
    assert settings.gitops.branch == defaults.gitops.branch
    assert settings.gitops.repository == ".mlops/gitops.git"
    prod = settings.environment("prod")
    assert prod.alias == "champion"
    assert prod.canary.weights == (5, 25, 50, 100)


def test_the_choices_of_a_forge_are_those_of_a_repository_elsewhere() -> None:
    text = template("churn", "https://git.example.com/a/b.git", "i@sha256:" + "0" * 64)
    assert read(text).gitops.kind == "git"
    before, _, rest = text.partition("\n[gitops]")
    chosen, _, after = rest.partition("\n[run]")
    chosen = re.sub(r"^# (?=[a-z_]+ = )", "", chosen, flags=re.MULTILINE)
    settings = read(f"{before}\n[gitops]{chosen}\n[run]{after}")
    assert settings.gitops.kind == "github"
    assert settings.gitops.labels == read("").gitops.labels
    assert settings.environment("prod").repository == "https://git.example.com/a/b.git"


@pytest.mark.parametrize(
    ("repository", "kind"),
    [
        ("https://github.com/acme/deploy.git", "github"),
        ("git@github.com:acme/deploy.git", "github"),
        ("ssh://git@gitlab.com:22/group/team/deploy", "gitlab"),
        ("https://codeberg.org/acme/deploy", "gitea"),
        ("https://git.example.com/acme/deploy.git", "git"),
        ("file:///srv/deploy.git", "git"),
        ("git@server:/srv/deploy.git", "git"),
        ("../deploy.git", "local"),
        ("C:deploy.git", "local"),
    ],
)
def test_a_forge_is_known_by_its_address(repository: str, kind: str) -> None:
    assert read(f'[gitops]\nrepository = "{repository}"').gitops.kind == kind


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('forge = "githb"', "no such forge"),
        ('forge = "github"', "repository is no URL"),
        ('repository = "a.git"\ndraft = true', "on this machine has no drafts"),
        ('repository = "https://g.example.com/a/b"\nauto_merge = true', "plain Git knows no"),
        ('repository = "https://ann:hunter22@g.example.com/a/b"', "holds a user name or pass"),
        ('repository = "https://ghp_1234567@github.com/a/b"', "holds a user name or pass"),
        ('token = "ghp_1234567890"', "no reference to a secret"),
        ('reviewer = ["ann"]', "unknown key gitops.reviewer"),
    ],
)
def test_what_gitops_cannot_be_is_said_without_credentials(text: str, message: str) -> None:
    with pytest.raises(BadSettings, match=message) as error:
        read(f"[gitops]\n{text}")
    assert "hunter22" not in str(error.value)
    assert "ghp_" not in str(error.value)


def test_every_commented_choice_of_the_template_can_be_uncommented() -> None:
    text = template("churn", "g.git", "i@sha256:" + "0" * 64)
    # A choice begins with a key or a table; sentences stay comments.
    lines = [re.sub(r"^# (?=[a-z_]+ = |\[[a-z])", "", line) for line in text.splitlines()]
    settings = read("\n".join(lines))
    assert settings.limits.timeout == 7200
    assert settings.limits.cell_timeout == 1800
    assert settings.limits.memory == 8 * 1024**3
    assert settings.kernel == "python3"
    assert settings.tracking_uri == "https://mlflow.example.com"
    assert len(settings.gates["churn"]) == 3
    assert settings.environment("prod").gates == ("accuracy >= 0.95",)
    assert settings.kubeflow.auth == "token"
    assert settings.kubeflow.token == "secret:KUBEFLOW_TOKEN"
    gpu = settings.profile(settings.kubeflow.profile)
    assert (gpu.gpu, gpu.gpu_resource, gpu.cpu) == (1, "nvidia.com/gpu", "4")
    assert (gpu.memory, gpu.shm, gpu.timeout) == (24 * 2**30, 8 * 2**30, 21600)
    assert gpu.tolerations[0].effect == "NoSchedule"
    assert gpu.secrets == {"MLFLOW_TRACKING_TOKEN": "mlflow/token"}
    assert gpu.price == 1.2
    # Every choice is one: nothing that looks like a key is left a comment.
    assert not [line for line in lines if re.match(r"# [a-z_]+ =", line)]


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
        ("[profiles]\ngpu = 1", "profiles.gpu = 1: not a table", ""),
        ("[profiles.gpu]\ngpus = 1", "unknown key profiles.gpu.gpus", "profiles.gpu.gpu?"),
        ("[profiles.gpu]\ngpu = '1'", "profiles.gpu.gpu = '1': not int", "mend profiles"),
        ("[profiles.gpu]\ngpu = true", "profiles.gpu.gpu = True: not int", ""),
        ("[profiles.gpu]\ngpu = -1", "profiles.gpu.gpu = -1: less than none", "give 0"),
        ("[profiles.gpu]\nmemory = 'all'", "profiles.gpu.memory = 'all'", "mend profiles"),
        ("[profiles.gpu]\ntimeout = 'soon'", "profiles.gpu.timeout = 'soon'", ""),
        ("[profiles.gpu]\nprice = 'low'", "profiles.gpu.price = 'low': not float", ""),
        ("[profiles.gpu]\nlabels = 'x'", "profiles.gpu.labels = 'x': not a table", ""),
        ("[profiles.gpu.labels]\nx = 1", "profiles.gpu.labels.x = 1: not a text", ""),
        ("[profiles.gpu]\npull_secrets = 'x'", "profiles.gpu.pull_secrets = 'x'", ""),
        ("[profiles.gpu]\ntolerations = 'x'", "not a list of tables", ""),
        ("[profiles.gpu]\ntolerations = [{kee = 'x'}]", "profiles.gpu.tolerations.kee", "key?"),
        ("[profiles.gpu]\ntolerations = [{key = 1}]", "tolerations.key = 1: not a text", ""),
        ("[kubeflow]\nurll = 'x'", "unknown key kubeflow.urll", "kubeflow.url?"),
        ("[kubeflow]\nverify = 'no'", "kubeflow.verify = 'no': not bool", ""),
        ("[kubeflow]\ninclude = 'x'", "kubeflow.include = 'x': not a list of texts", ""),
        ("[kubeflow]\nbundle_limit = 'x'", "kubeflow.bundle_limit = 'x'", ""),
        ("[kubeflow]\nauth = 'tokn'", "kubeflow.auth = 'tokn'", "did you mean 'token'?"),
        ("[kubeflow]\nauth = 'ldap'", "kubeflow.auth = 'ldap'", "known: none, token"),
        ("[kubeflow]\nurl = 'kf.example.com'", "kubeflow.url = 'kf.example.com'", "https://"),
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


def test_a_profile_is_read_with_sizes_and_times_as_people_write_them() -> None:
    settings = read(
        """
        [profiles.gpu-small]
        image = "registry.example.com/train:1"
        gpu = 2
        gpu_resource = "nvidia.com/mig-1g.10gb"
        cpu = 4
        memory = "24Gi"
        shm = "8GiB"
        node_selector = { "cloud.google.com/gke-accelerator" = "nvidia-l4" }
        tolerations = [{ key = "nvidia.com/gpu", operator = "Exists", effect = "NoSchedule" }]
        pull_secrets = ["registry"]
        service_account = "runner"
        secrets = { TOKEN = "mlflow/token" }
        env = { REGION = "eu" }
        volumes = { data = "/mnt/data" }
        labels = { "kueue.x-k8s.io/queue-name" = "gpu" }
        annotations = { "example.com/team" = "credit risk" }
        price = 2
        max_wait = "30m"
        timeout = "2h"
        retries = 2
        backoff = 45
        """
    )
    assert settings.profile("gpu-small") == Profile(
        name="gpu-small",
        image="registry.example.com/train:1",
        gpu=2,
        gpu_resource="nvidia.com/mig-1g.10gb",
        cpu="4",
        memory=24 * 2**30,
        shm=8 * 2**30,
        node_selector={"cloud.google.com/gke-accelerator": "nvidia-l4"},
        tolerations=(Toleration(key="nvidia.com/gpu", operator="Exists", effect="NoSchedule"),),
        pull_secrets=("registry",),
        service_account="runner",
        secrets={"TOKEN": "mlflow/token"},
        env={"REGION": "eu"},
        volumes={"data": "/mnt/data"},
        labels={"kueue.x-k8s.io/queue-name": "gpu"},
        annotations={"example.com/team": "credit risk"},
        price=2.0,
        max_wait=1800.0,
        timeout=7200.0,
        retries=2,
        backoff=45.0,
    )


def test_kubeflow_is_read_and_none_by_default() -> None:
    assert read("").kubeflow == Kubeflow()
    settings = read(
        "[kubeflow]\nurl = 'https://kf.example.com/pipeline'\nauth = 'dex'\nusername = 'ann'\n"
        "password = 'secret:DEX'\nverify = false\ninclude = ['*.py']\nbundle_limit = '8MiB'\n"
        "shares_machine = true\ncheck_imports = false"
    )
    assert settings.kubeflow == Kubeflow(
        url="https://kf.example.com/pipeline",
        auth="dex",
        username="ann",
        password="secret:DEX",
        verify=False,
        include=("*.py",),
        bundle_limit=8 * 2**20,
        shares_machine=True,
        check_imports=False,
    )


@pytest.mark.parametrize(
    "text",
    [
        "token = 'eyJhbGciOi-hunter2'",
        "token = 'secret:'",
        "password = 'hunter2'",
        "url = 'https://ann:hunter2@kf.example.com'",
        "tracking_uri = 'http://ann:hunter2@mlflow:5000'",
    ],
)
def test_a_credential_that_stands_there_itself_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(BadSettings) as error:
        read(f"[kubeflow]\n{text}")
    assert error.value.message.startswith(f"mlops.toml: kubeflow.{text.partition(' ')[0]} ")
    assert error.value.hint
    assert "hunter2" not in str(error.value)


def test_a_cluster_is_named_by_environment_and_its_token_by_reference() -> None:
    assert not read("[environments.prod]").environment("prod").has_cluster
    text = "[environments.prod]\nargocd = 'https://argocd.example.com/argo'\n"
    prod = read(f"{text}argocd_token = 'secret:ARGO'").environment("prod")
    assert prod.has_cluster
    assert prod.application_of("churn") == "churn-prod"
    named = read(f"{text}application = 'ml-{{model}}'").environment("prod")
    assert named.application_of("churn") == "ml-churn"
    assert read("[environments.prod]\ncontext = 'prod'").environment("prod").has_cluster


@pytest.mark.parametrize(
    "text",
    [
        "argocd_token = 'eyJhbGciOi-hunter2'",
        "argocd = 'https://ann:hunter2@argocd.example.com'",
        "argocd = 'hunter2.example.com'",
    ],
)
def test_an_argo_cd_that_could_not_be_asked_safely_is_refused(text: str) -> None:
    with pytest.raises(UserError) as error:
        read(f"[environments.prod]\n{text}")
    assert error.value.message.startswith("mlops.toml: environments.prod.argocd")
    assert error.value.hint
    assert "hunter2" not in str(error.value)


def test_an_unknown_profile_is_told_with_the_known_ones() -> None:
    settings = read("[profiles.gpu-small]\n[profiles.cpu]")
    with pytest.raises(
        NotFound, match=r"no profile 'gpu-smal'; configured: gpu-small, cpu"
    ) as e:
        settings.profile("gpu-smal")
    assert e.value.hint == "did you mean 'gpu-small'?"
    with pytest.raises(NotFound, match="configured: none") as e:
        read("").profile("gpu")
    assert e.value.hint == "add [profiles.gpu] to mlops.toml"
