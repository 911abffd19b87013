"""How errors look in the OpenAPI document."""

from __future__ import annotations

from typing import Any

from serving.errors import PROBLEM_JSON
from serving.schemas import Problem

_BODY = {"content": {PROBLEM_JSON: {"schema": Problem.model_json_schema()}}}

PROBLEMS: dict[int | str, dict[str, Any]] = {
    422: {"description": "The request is not accepted as it is", **_BODY},
    429: {"description": "Too many requests wait; try again after Retry-After seconds", **_BODY},
    503: {"description": "A part of the service does not answer", **_BODY},
    504: {"description": "Not done within the deadline", **_BODY},
}
NOT_FOUND: dict[int | str, dict[str, Any]] = {404: {"description": "Not here", **_BODY}}
UPLOAD_PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: {"description": "The body is neither a form with files nor JSON documents", **_BODY},
    413: {"description": "Larger than the service accepts", **_BODY},
    **PROBLEMS,
}
