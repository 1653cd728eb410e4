"""Small servers that stand for forges: real Git over HTTP, and each forge's own API."""

from forge_doubles.gitea import GiteaDouble
from forge_doubles.github import GitHubDouble
from forge_doubles.gitlab import GitLabDouble
from forge_doubles.server import TOKEN, Answer, Double

__all__ = ["TOKEN", "Answer", "Double", "GitHubDouble", "GitLabDouble", "GiteaDouble"]
