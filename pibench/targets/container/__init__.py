"""Networks in containers of a Docker Engine (or Podman), held to the device's memory and cores."""

from pibench.targets.container.target import ContainerTarget

__all__ = ["ContainerTarget"]
