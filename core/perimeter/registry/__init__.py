"""The plugins of one application: found, built, put in order, started and stopped."""

from perimeter.discovery import installed
from perimeter.registry.loading import load
from perimeter.registry.registry import LoadedPlugin, Registry


__all__ = ["LoadedPlugin", "Registry", "installed", "load"]
