"""The run's own record: one JSON line per event, and progress on stderr."""

from __future__ import annotations

import json
import logging
import math
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

from distill.training.guard import Guard

if TYPE_CHECKING:
    from distill.training.trainer import ListTrainer

log = logging.getLogger(__name__)


class Journal:
    """Appends to ``training.jsonl``; nothing is ever removed from it, so failed attempts stay readable."""

    def __init__(self, path: Path, *, writes: bool = True) -> None:
        self._path = path
        self._writes = writes

    def write(self, event: str, **fields: Any) -> None:
        """Append one line; numbers that are not finite become null."""
        if not self._writes:
            return
        row = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "event": event, **_finite(fields)}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


class JournalCallback(TrainerCallback):
    """Writes losses and dev figures as the Trainer reports them, and asks for both at the last step."""

    def __init__(self, journal: Journal, guard: Guard) -> None:
        self.trainer: ListTrainer | None = None
        self._journal = journal
        self._guard = guard
        self._began = time.monotonic()
        self._first_step = 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._began = time.monotonic()
        self._first_step = state.global_step
        if state.global_step:
            self._journal.write("resumed", step=state.global_step)
            log.info("going on at step %d of %d", state.global_step, state.max_steps)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        if state.global_step >= state.max_steps:
            control.should_log = True
            control.should_save = True
            control.should_evaluate = args.eval_strategy != "no"
        return control

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        if not logs or not state.is_world_process_zero:
            return
        if "loss" in logs:
            self._journal.write("step", step=state.global_step, spread=self._guard.spread, **_plain(logs))
            self._progress(state, logs["loss"])
        elif any(name.startswith("eval_") for name in logs):
            self._journal.write("dev", step=state.global_step, **_plain(logs))
            log.info("step %d: dev NDCG@10 %.4f", state.global_step, logs["eval_ndcg"])

    def _progress(self, state: Any, loss: float) -> None:
        done = state.global_step - self._first_step
        seconds = time.monotonic() - self._began
        left = (state.max_steps - state.global_step) * seconds / max(done, 1)
        log.info(
            "step %d of %d: loss %.4f, spread %.3g, %.2f s a step, %.0f min left",
            state.global_step,
            state.max_steps,
            loss,
            self._guard.spread,
            seconds / max(done, 1),
            left / 60,
        )


def _plain(logs: Any) -> dict[str, float]:
    return {name: float(value) for name, value in logs.items() if isinstance(value, int | float)}


def _finite(fields: dict[str, Any]) -> dict[str, Any]:
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in fields.items()
    }
