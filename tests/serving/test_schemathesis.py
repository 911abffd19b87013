"""Schemathesis on every route of the real service, with keys and without: no unexpected 5xx.

A few cases for each route belong to the suite.  Many more::

    NIGHTLY_EXAMPLES=300 python -m pytest -s tests/serving/test_schemathesis.py
"""

from __future__ import annotations

import contextlib
import os
import random
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable

from serving.access.keys import KeyStore
from tests.fakes.processes import ServiceProcess

EXAMPLES = int(os.environ.get("NIGHTLY_EXAMPLES", "2"))
SEED = int(os.environ.get("NIGHTLY_SEED", "0")) or (
    20261121 if EXAMPLES <= 10 else random.SystemRandom().randrange(1, 2**31)
)
PATIENCE_S = 180.0
DOCUMENTS = [
    {"doc_id": "files", "title": "Files", "text": "Open a file with open. Close it when you are done."},
    {"doc_id": "文档", "title": "", "text": "打开文件用 open。关闭文件用 close。"},
]
# What may end in a 5xx all the same, because it is what the answer means.
MEANT = {503, 507}
VALID, BROKEN = schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[ServiceProcess, str]]]:
    """A service without keys, and one with: name to service and the key to send."""
    folder = tmp_path_factory.mktemp("schemathesis")
    keyed = folder / "keyed" / "home"
    keyed.mkdir(parents=True)
    store = KeyStore(keyed)
    key = store.create("all", tenants=("acme",), scopes=("read", "write", "admin")).text()
    store.close()
    common = {"WINNOW_RERANK__MODEL": "none", "WINNOW_ENCODERS__THREADS": "1"}
    with (
        ServiceProcess(folder / "open" / "home", **common) as plain,
        ServiceProcess(keyed, WINNOW_SERVING__REQUIRE_KEYS="true", **common) as locked,
    ):
        locked.client.headers["authorization"] = f"Bearer {key}"
        with ThreadPoolExecutor(2) as side_by_side:
            list(side_by_side.map(lambda service: service.index(DOCUMENTS), (plain, locked)))
        yield {"open": (plain, ""), "keyed": (locked, key)}


def _operations(service: ServiceProcess) -> list[Any]:
    schema = schemathesis.openapi.from_dict(service.client.get("/openapi.json").json())
    return [found.ok() for found in schema.get_all_operations()]


def _problem(label: str, response: httpx.Response) -> str | None:
    """Say what is wrong with an answer; None when nothing is."""
    if response.status_code >= 500 and not (
        response.status_code in MEANT and response.headers.get("content-type", "").startswith("application/")
    ):
        return f"{label}: {response.status_code} {response.text[:300]}"
    if response.status_code >= 400 and "json" not in response.headers.get("content-type", ""):
        return f"{label}: {response.status_code} is not typed: {response.text[:200]}"
    return None


def _send(service: ServiceProcess, case: Any, key: str | None) -> httpx.Response:
    """Send a case as Schemathesis would, through the client that is at hand."""
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    answer = case.call(base_url=service.url, headers=headers, timeout=PATIENCE_S)
    return httpx.Response(answer.status_code, headers={"content-type": _type(answer)}, content=answer.content)


def _type(answer: Any) -> str:
    found = answer.headers.get("content-type", [""])
    return found if isinstance(found, str) else found[0]


@pytest.mark.parametrize(
    ("access", "mode"),
    # Requests that break the schema are the slowest to make, and end before any key matters.
    [("open", VALID), ("open", BROKEN), ("keyed", VALID), ("stranger", VALID)],
    ids=["open-valid", "open-broken", "keyed-valid", "stranger-valid"],
)
def test_no_request_ends_in_an_unexpected_5xx(
    services: dict[str, tuple[ServiceProcess, str]], access: str, mode: Any
) -> None:
    service, key = services["open" if access == "open" else "keyed"]
    sent = {"open": None, "keyed": key, "stranger": "wnw_000000000000_wrong"}[access]
    known = {"doc_id": "files", "job_id": "no-such-job", "conversation_id": "none"}
    wrong: list[str] = []
    seen: Counter[int] = Counter()

    for operation in _operations(service):

        @seed(SEED)
        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode), real=st.booleans())
        def ask(case: Any, real: bool) -> None:
            if real and case.path_parameters:
                case.path_parameters = {
                    **case.path_parameters,
                    **{name: value for name, value in known.items() if name in case.path_parameters},
                }
            response = _send(service, case, sent)
            seen[response.status_code] += 1
            found = _problem(case.operation.label, response)
            if found is not None:
                wrong.append(f"{found} <- {case.as_curl_command()[:600]}")

        # A route without parameters cannot be asked wrongly.
        with contextlib.suppress(Unsatisfiable):
            ask()
    sys.stdout.write(
        f"seed {SEED}, {access}, {mode.name}: {sum(seen.values())} requests {dict(sorted(seen.items()))}\n"
    )
    assert not wrong, "\n".join(wrong)
    assert service.client.get("/health").status_code == 200
    if access == "stranger":
        assert not {status for status in seen if status < 300} - {200}
