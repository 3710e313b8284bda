"""Target `ssh`: a board over SSH, where nothing is installed and nothing stays but a cache."""

from pibench.targets.ssh.target import SshTarget

__all__ = ["SshTarget"]
