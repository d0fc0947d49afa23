"""The list of models: `GET /v1/models` and `GET /v1/models/{id}`, in the shape of who is asked."""

from __future__ import annotations

from typing import Any

from perimeter.simulator.desk import Desk
from perimeter.simulator.providers import Refusal
from perimeter.simulator.wire import Query, Reply


_CREATED = 1_735_689_600
_CREATED_TEXT = "2025-01-01T00:00:00Z"


def list_models(query: Query, desk: Desk) -> Reply:
    """Answer with all models."""
    models = [_model(name, query) for name in desk.settings.models]
    if not _anthropic(query):
        return Reply({"object": "list", "data": models})
    ends = {"first_id": models[0]["id"], "last_id": models[-1]["id"]} if models else {}
    return Reply({"data": models, "has_more": False, **ends})


def get_model(query: Query, desk: Desk) -> Reply:
    """Answer with one model."""
    name = query.path.rpartition("/")[2]
    if name not in desk.settings.models:
        message = f"The model '{name}' does not exist."
        raise Refusal(404, message, param="model", code="model_not_found")
    return Reply(_model(name, query))


def _anthropic(query: Query) -> bool:
    return "anthropic-version" in query.headers


def _model(name: str, query: Query) -> dict[str, Any]:
    if _anthropic(query):
        return {"type": "model", "id": name, "display_name": name, "created_at": _CREATED_TEXT}
    return {"id": name, "object": "model", "created": _CREATED, "owned_by": "perimeter"}
