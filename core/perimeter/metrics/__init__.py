"""
What is counted, and how Prometheus gets it.

The data path adds to plain numbers, plugins' hooks and workers keep their own; all of that is only
turned into metrics when somebody asks. (A histogram of prometheus-client takes 1.5 µs per value;
an exchange has three.)
"""

from perimeter.metrics.counting import Metrics, PluginMetrics
from perimeter.metrics.numbers import PluginInfo
from perimeter.metrics.rates import Rate
from perimeter.metrics.sessions import SessionNumbers


__all__ = ["Metrics", "PluginInfo", "PluginMetrics", "Rate", "SessionNumbers"]
