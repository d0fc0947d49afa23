"""The recordings as a provider: the answers that were recorded, to the requests that got them."""

from perimeter_plugin_recorders.serving.app import Provider, app
from perimeter_plugin_recorders.serving.library import Library, Skipped
from perimeter_plugin_recorders.serving.running import run


__all__ = ["Library", "Provider", "Skipped", "app", "run"]
