"""A promoted model goes into service without a restart, and without a request that fails."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest

from distill.registry import ModelRegistry
from indexing.errors import EncoderError
from indexing.settings import Settings, load_settings
from retrieval import registry as reading
from retrieval.reranker import RerankScores
from serving.errors import GoldenError
from serving.metrics import Metrics
from serving.reranking import LiveReranker
from tests.fakes.exported_models import late_interaction_folder
from tests.fakes.processes import ServiceProcess

pytestmark = pytest.mark.anyio
PATIENCE_S = 30.0


class Overlap:
    """Counts shared words; notes which texts it saw, and can be held in the model."""

    kind = "cross-encoder"

    def __init__(self, folder: Path, sign: float = 1.0, scripts: frozenset[str] | None = None) -> None:
        self.name = f"test:{folder.name}"
        self.scripts = scripts
        self._sign = sign
        self.gate = threading.Event()
        self.gate.set()

    def score(self, query: str, texts: Sequence[str]) -> RerankScores:
        self.gate.wait(PATIENCE_S)
        asked = set(query.lower().split())
        shared = [self._sign * len(asked & set(text.lower().split())) for text in texts]
        return RerankScores(np.array(shared, np.float32), (False,) * len(texts))


@pytest.fixture(autouse=True)
def nothing_shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "SHIPPED", tmp_path / "absent")


@pytest.fixture
def registry(tmp_path: Path) -> ModelRegistry:
    return ModelRegistry(tmp_path)


def added(registry: ModelRegistry, tmp_path: Path, name: str, **shape: object) -> str:
    return registry.add(late_interaction_folder(tmp_path / "made" / name, name=name, **shape))  # type: ignore[arg-type]


def service_settings(home: Path, **rerank: object) -> Settings:
    return load_settings(home=home, rerank={"watch_s": 0.02, **rerank})


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.005)


async def opened(home: Path, load: Callable[[Path], object], **rerank: object) -> LiveReranker:
    live = LiveReranker(service_settings(home, **rerank), Metrics(), load)  # type: ignore[arg-type]
    live.load_first()
    live.start()
    return live


async def test_a_promotion_changes_the_model_and_requests_in_line_keep_theirs(registry, tmp_path):
    models: dict[str, Overlap] = {}

    def load(folder: Path) -> Overlap:
        return models.setdefault(folder.name, Overlap(folder))

    live = await opened(tmp_path, load)
    assert live.name is None
    assert not live.available()
    assert await live.check() == "no model is promoted or shipped"
    first, second = added(registry, tmp_path, "first"), added(registry, tmp_path, "second")
    registry.promote(first)
    await until(live.available)
    assert live.name == f"test:{first}"

    models[first].gate.clear()
    waiting = [asyncio.create_task(live.score("open a file", ["open", "shut"])) for _ in range(3)]
    await asyncio.sleep(0.05)
    registry.promote(second)
    await until(lambda: live.name == f"test:{second}")
    late = asyncio.create_task(live.score("open a file", ["open", "shut"]))
    models[first].gate.set()
    assert [(await one).model for one in waiting] == [f"test:{first}"] * 3
    assert (await late).model == f"test:{second}"

    registry.rollback()
    await until(lambda: live.name == f"test:{first}")
    registry.rollback()
    await until(lambda: not live.available())
    await live.close()


async def test_a_model_that_fails_is_not_taken_and_says_so(registry, tmp_path):
    def load(folder: Path) -> Overlap:
        if folder.name.startswith("torn"):
            raise EncoderError("the graph does not load")
        if folder.name.startswith("crash"):
            raise RuntimeError("something unforeseen")
        return Overlap(folder, sign=-1.0 if folder.name.startswith("noise") else 1.0)

    good = added(registry, tmp_path, "good")
    registry.promote(good)
    live = await opened(tmp_path, load)
    metrics = live._metrics
    for name, reason in [("torn", "does not load"), ("crash", "RuntimeError"), ("noise", "unrelated")]:
        registry.promote(added(registry, tmp_path, name))
        await until(lambda reason=reason: reason in live._trouble)
        assert live.name == f"test:{good}"
        line = await live.check()
        assert line.startswith(f"test:{good}: golden pair in order; ")
        assert "was not taken" in line
    refused = metrics.reranker_changes.labels("refused")._value.get()
    await asyncio.sleep(0.1)
    assert metrics.reranker_changes.labels("refused")._value.get() == refused == 3, "tried once, not for ever"
    registry.rollback()
    registry.rollback()
    registry.rollback()
    await until(lambda: live._trouble == "")
    (tmp_path / "models" / "current.json").write_text("torn")
    await until(lambda: "not a pointer" in live._trouble)
    assert (await live.score("open", ["open"])).model == f"test:{good}"
    await live.close()


async def test_a_broken_model_at_the_start_is_an_error(registry, tmp_path):
    registry.promote(added(registry, tmp_path, "torn"))

    def load(folder: Path) -> Overlap:
        raise EncoderError("the graph does not load")

    with pytest.raises(EncoderError, match="does not load"):
        await opened(tmp_path, load)


async def test_readiness_fails_for_noise_and_passes_for_another_script(tmp_path):
    folder = late_interaction_folder(tmp_path / "named")
    noise = await opened(tmp_path, lambda path: Overlap(path, sign=-1.0), model=str(folder))
    with pytest.raises(GoldenError, match="unrelated"):
        await noise.check()
    await noise.close()
    han = await opened(tmp_path, lambda path: Overlap(path, scripts=frozenset({"Han"})), model=str(folder))
    assert "does not read" in await han.check()
    await han.close()


async def test_a_named_model_is_not_watched_and_none_is_none(registry, tmp_path):
    folder = late_interaction_folder(tmp_path / "named")
    live = await opened(tmp_path, Overlap, model=str(folder))
    registry.promote(added(registry, tmp_path, "other"))
    await asyncio.sleep(0.1)
    assert live.name == "test:named"
    await live.close()
    off = await opened(tmp_path, Overlap, model="none")
    assert not off.possible
    await off.close()


def _texts() -> list[dict[str, str]]:
    lines = [
        "You open a file with the function open.",
        "The weather was sunny all week.",
        "Cash flow of the bank.",
    ]
    return [{"doc_id": f"d{number}", "text": text} for number, text in enumerate(lines * 3)]


def test_a_running_service_takes_a_promoted_model_under_load(tmp_path):
    home = tmp_path / "home"
    registry = ModelRegistry(home)
    first = registry.add(late_interaction_folder(tmp_path / "first", name="first", seed=1))
    second = registry.add(late_interaction_folder(tmp_path / "second", name="second", seed=2))
    registry.promote(first)
    with ServiceProcess(home, WINNOW_RERANK__WATCH_S="0.1") as service:
        service.index(_texts())
        stop = threading.Event()

        def ask() -> list[tuple[int, str, int]]:
            seen = []
            with httpx.Client(base_url=service.url, timeout=PATIENCE_S) as client:
                while not stop.is_set():
                    answer = client.post("/v1/search", json={"query": "how do i open a file"})
                    stages = {one["name"]: one for one in answer.json()["receipt"]["stages"]}
                    degraded = len(answer.json()["receipt"]["degraded"])
                    seen.append((answer.status_code, model_of(stages["rerank"]), degraded))
            return seen

        def in_use(name: str) -> None:
            end = time.monotonic() + PATIENCE_S
            while name not in service.client.get("/v1/collection").json()["encoders"]["reranker"]:
                assert time.monotonic() < end, f"{name} was not taken"
                time.sleep(0.05)
            time.sleep(0.2)

        with ThreadPoolExecutor(4) as pool:
            askers = [pool.submit(ask) for _ in range(4)]
            try:
                in_use(first)
                registry.promote(second)
                in_use(second)
                registry.rollback()
                in_use(first)
            finally:
                stop.set()
            seen = [one for asker in askers for one in asker.result(PATIENCE_S)]
        assert {status for status, _, _ in seen} == {200}
        assert sum(degraded for _, _, degraded in seen) == 0
        models = [model.split(":")[-1] for _, model, _ in seen]
        assert {first, second} == set(models)
        ready = service.client.get("/ready").json()
        assert ready["ready"], json.dumps(ready)
        assert any(first in check["detail"] for check in ready["checks"])


def model_of(stage: dict[str, object]) -> str:
    details = stage.get("details", stage)
    return str(details["model"])  # type: ignore[index]
