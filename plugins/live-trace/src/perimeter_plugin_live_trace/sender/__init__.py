"""The proxy's side: what is observed is made into records, and sent to the live-trace process."""

from perimeter_plugin_live_trace.sender.sender import Sender


__all__ = ["Sender"]
