"""The plugins of one application: found, built, put in order, started and stopped."""

from perimeter.discovery import installed
from perimeter.registry.loading import dialects_of, load
from perimeter.registry.registry import LoadedPlugin, Registry


__all__ = ["LoadedPlugin", "Registry", "dialects_of", "installed", "load"]
