"""What a pull request of the GitOps repository is held against before people merge it."""
