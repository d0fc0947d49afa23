"""
Sample agents, and the round they play through a proxy.

The proxy has two upstreams, `openai` and `anthropic`, both of which are a
`perimeter.simulator.Simulator`; it tells them apart by the paths. `play_round` lets every agent
talk through it once and checks every answer; `check_metrics` compares what the proxy counted, and
a `Witness` which sessions it told of.
"""

from perimeter.demo.metrics import check_metrics
from perimeter.demo.play import play_round
from perimeter.demo.results import RoundResult, Step, Traffic
from perimeter.demo.sessions import Seen, Witness


__all__ = ["RoundResult", "Seen", "Step", "Traffic", "Witness", "check_metrics", "play_round"]
