"""Write a pydantic model as the response body, once."""

from __future__ import annotations

from http import HTTPStatus

from pydantic import BaseModel
from starlette.responses import Response


class ModelResponse(Response):
    """A model's JSON: FastAPI's own path would validate and copy every result again."""

    media_type = "application/json"

    def __init__(self, model: BaseModel, status: HTTPStatus = HTTPStatus.OK) -> None:
        super().__init__(model.model_dump_json().encode(), status_code=int(status))
