"""How a cluster is asked what it runs."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mlops_nb.errors import UserError


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterAccess:
    """The way to an environment's cluster, as `[environments.NAME]` of mlops.toml says.

    Args:
        argocd: address of the Argo CD that follows it; empty where it is not to be asked.
        argocd_token: `secret:NAME` of its bearer token; empty takes ARGOCD_AUTH_TOKEN.
        argocd_token_file: file with the token, read again when it changes.
        argocd_project: project of its applications; empty takes `models-NAME`.
        argocd_ca: file with the certificates of a private authority.
        application: name of an application there; `{model}` stands for the model's name.
        kubeconfig: kubeconfig of the cluster, which is asked where no Argo CD is named.
        context: context of the kubeconfig; empty takes its current one.
    """

    argocd: str = ""
    argocd_token: str = ""
    argocd_token_file: str = ""
    argocd_project: str = ""
    argocd_ca: str = ""
    application: str = ""
    kubeconfig: str = ""
    context: str = ""

    def __post_init__(self) -> None:
        """Refuse an address with credentials in it, and a token that stands there itself.

        Raises:
            UserError: if so; the message names the key, but no credential.
        """
        if self.argocd and not re.match(r"https?://[^/@\s]+(/[^@]*)?$", self.argocd):
            raise UserError(
                "argocd is no plain address",
                hint="give e.g. https://argocd.example.com; the token is passed as a secret",
            )
        if self.argocd_token and not re.fullmatch(r"secret:\S+", self.argocd_token):
            raise UserError(
                "argocd_token is no reference to a secret",
                hint='keep the token out of this file: argocd_token = "secret:NAME"',
            )

    @property
    def leads_to(self) -> str:
        """What names the cluster; empty where only a login or an application is named."""
        return self.argocd or self.kubeconfig or self.context
