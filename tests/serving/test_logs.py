"""Log lines as JSON: one object a line, the request's id in each, no question in any."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from indexing.errors import GenerationUnavailableError
from serving.logs import JsonFormatter, configure_logging
from tests.fakes.scripted_generator import ScriptedGenerator
from tests.fakes.service import client_of, make_harness

pytestmark = pytest.mark.anyio
CANARY = "zyxquestioncanaryqqj"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(JsonFormatter())
    root.handlers = [handler]
    yield written
    root.handlers, root.level = before, level


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


async def asked(tmp_path: Path, reply: object, **body: object) -> httpx.Response:
    harness = await make_harness(
        tmp_path,
        generator=ScriptedGenerator(reply),  # type: ignore[arg-type]
        generation={"passages": "windows"},
    )
    async with client_of(harness) as client:
        answer = await client.post(
            "/v1/query",
            json={"query": f"open a file {CANARY}", **body},
            headers={"x-request-id": "known-to-the-caller"},
        )
    await harness.close()
    return answer


async def test_the_access_line_has_its_values_by_name(stream: io.StringIO, tmp_path: Path) -> None:
    logging.getLogger().setLevel(logging.INFO)
    answer = await asked(tmp_path, "Open it [1].")
    line = next(line for line in lines(stream) if line["logger"] == "serving.access")
    assert line["request_id"] == answer.headers["x-request-id"] == "known-to-the-caller"
    assert (line["method"], line["route"], line["status"]) == ("POST", "/v1/query", 200)
    assert isinstance(line["ms"], float)
    assert line["results"] == len(answer.json()["results"])
    assert str(line["message"]).startswith("request id=known-to-the-caller method=POST route=/v1/query")


@pytest.mark.parametrize(
    ("reply", "options"),
    [
        (GenerationUnavailableError("nobody listens"), {}),
        (lambda request: request.messages[-1].content, {"classify": True}),
        (lambda request: f"{request.messages[-1].content}\n\ntwo lines", {"hyde": True, "multi_query": 2}),
        (ZeroDivisionError("a defect"), {}),
    ],
)
async def test_no_line_above_debug_holds_the_question(
    stream: io.StringIO, tmp_path: Path, reply: object, options: dict[str, object]
) -> None:
    logging.getLogger().setLevel(logging.INFO)
    await asked(tmp_path, reply, **options)
    found = lines(stream)
    assert found
    assert all(line["request_id"] == "known-to-the-caller" for line in found)
    assert CANARY not in stream.getvalue()


async def test_at_debug_the_question_is_there(stream: io.StringIO, tmp_path: Path) -> None:
    logging.getLogger().setLevel(logging.DEBUG)
    await asked(tmp_path, "Open it [1].")
    assert CANARY in stream.getvalue()


def test_a_record_is_one_line_whatever_is_in_it() -> None:
    record = logging.LogRecord("a", logging.ERROR, "", 0, "one\ntwo %s", ('"\n\u2028\x00',), None)
    record.facts = {"path": Path("x"), "level": "forged", "message": "forged"}
    try:
        raise ValueError("first\nsecond")
    except ValueError as error:
        record.exc_info = (ValueError, error, error.__traceback__)
    text = JsonFormatter().format(record)
    assert "\n" not in text
    line = json.loads(text)
    assert line["message"] == 'one\ntwo "\n\u2028\x00'
    assert (line["level"], line["path"]) == ("error", "x")
    assert "second" in line["exception"]
    assert "request_id" not in line


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_the_setting_chooses_the_format(
    stream: io.StringIO, log_format: str, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging("info", log_format)  # type: ignore[arg-type]
    logging.getLogger("winnow").info("said %s", "so")
    logging.getLogger("httpx").info("a request")
    written = capsys.readouterr().err
    assert written.count("\n") == 1
    assert written.startswith("{") is (log_format == "json")
    assert "said so" in written
