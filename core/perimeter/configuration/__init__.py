"""From a TOML file, the environment and the command line to ``Settings``, strictly."""

from perimeter.configuration.converter import structure_plugin, structure_table
from perimeter.configuration.describing import describe
from perimeter.configuration.example import render_example
from perimeter.configuration.loading import load, load_without_file
from perimeter.configuration.overrides import Overrides


__all__ = [
    "Overrides",
    "describe",
    "load",
    "load_without_file",
    "render_example",
    "structure_plugin",
    "structure_table",
]
