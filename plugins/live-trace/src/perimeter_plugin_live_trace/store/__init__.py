"""The store: what is kept of the traffic, and how it is written and read."""

from __future__ import annotations

from perimeter_plugin_live_trace.store.errors import Busy, StoreError, TooSlow
from perimeter_plugin_live_trace.store.histogram import Histogram
from perimeter_plugin_live_trace.store.known import Known
from perimeter_plugin_live_trace.store.opening import Database
from perimeter_plugin_live_trace.store.reader import Reader
from perimeter_plugin_live_trace.store.tidying import Limits, Tidied
from perimeter_plugin_live_trace.store.transaction import Transaction
from perimeter_plugin_live_trace.store.writer import Writer


__all__ = [
    "Busy",
    "Database",
    "Histogram",
    "Known",
    "Limits",
    "Reader",
    "StoreError",
    "Tidied",
    "TooSlow",
    "Transaction",
    "Writer",
]
