"""Follows calls: what they say, which session they belong to, and what happened, as events."""

from perimeter.tracking.call import TrackedCall
from perimeter.tracking.tracker import Tracker


__all__ = ["TrackedCall", "Tracker"]
