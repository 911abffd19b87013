"""One training run, from a recipe to a model folder.

::

    RUN/
    ├── recipe.json      the settings the run was started with
    ├── training.jsonl   every loss and dev figure, in order
    ├── checkpoints/     weights, optimiser, random state: the newest and the best
    └── model/           the result, with model.json; written last

A run that was stopped goes on from its newest complete checkpoint when it is
started again with the same recipe.
"""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.errors import TrainingError
from distill.model_folder import ModelManifest, TrainingRecord, is_model_folder, read_model_folder
from distill.model_folder import write_model_folder as write_manifest
from distill.students import Student, open_student
from distill.students.bases import scripts_of
from distill.training.processes import join
from distill.training.sources import Source, fingerprint, read_sources

if TYPE_CHECKING:
    from distill.training.dev import DevSet
    from distill.training.settings import TrainSettings
    from distill.training.trainer import ListTrainer

log = logging.getLogger(__name__)

RECIPE = "recipe.json"
JOURNAL = "training.jsonl"
CHECKPOINTS = "checkpoints"
MODEL = "model"


@dataclass(frozen=True, slots=True)
class RunResult:
    """What a run gave."""

    folder: Path
    manifest: ModelManifest


def train(settings: TrainSettings, output: Path, *, teachers: Sequence[Mapping[str, Any]] = ()) -> RunResult:
    """Train a student and write ``output``; returns the model folder and its manifest.

    Raises:
        TrainingError: nothing to train on; another recipe's run in ``output``;
            a loss that is not finite.
        CollapseError: the student gives every passage nearly the same score.
    """
    folder = output / MODEL
    if is_model_folder(folder):
        _same_recipe(settings, output)
        log.info("%s is trained already", folder)
        return RunResult(folder, read_model_folder(folder))
    main, rank, world = join(settings)
    if main:
        _claim(settings, output)
    sources = read_sources(settings)
    student = _open(settings)
    metrics, steps = _fit(student, settings, sources, output, (rank, world))
    if not main:
        return RunResult(folder, _manifest(settings, student, sources, metrics, steps, teachers))
    return RunResult(folder, _publish(settings, student, sources, metrics, steps, teachers, folder))


def _claim(settings: TrainSettings, output: Path) -> None:
    """Make the folder this run's own, or check that it is."""
    if (output / RECIPE).is_file():
        _same_recipe(settings, output)
        return
    output.mkdir(parents=True, exist_ok=True)
    if any(output.iterdir()):
        raise TrainingError(f"{output} is not empty and holds no run; name a new folder")
    (output / RECIPE).write_text(settings.model_dump_json(indent=2) + "\n", encoding="utf-8")


def _same_recipe(settings: TrainSettings, output: Path) -> None:
    try:
        # Read as settings: a key that came with a later version has its default in an older run.
        found = type(settings).model_validate_json((output / RECIPE).read_bytes())
    except (OSError, ValueError) as error:
        raise TrainingError(f"{output / RECIPE} cannot be read: {error}") from error
    recorded, ours = json.loads(found.model_dump_json()), json.loads(settings.model_dump_json())
    changed = sorted(key for key in ours.keys() | recorded.keys() if ours.get(key) != recorded.get(key))
    if changed:
        raise TrainingError(
            f"{output} holds a run with another recipe (different: {', '.join(changed)}); "
            "name a new folder, or remove this one to start again"
        )


def _open(settings: TrainSettings) -> Student:
    """The student, drawn from the seed: a fresh head is random."""
    import torch
    from transformers import set_seed
    from transformers.utils import logging as chatter

    chatter.disable_progress_bar()  # type: ignore[no-untyped-call]
    # A fresh head is not worth a table of missing weights.
    chatter.set_verbosity_error()  # type: ignore[no-untyped-call]
    set_seed(settings.seed)
    if settings.schedule.deterministic:
        torch.use_deterministic_algorithms(True, warn_only=True)
        # Would write every new tensor twice, against reads of memory that nothing wrote.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    return open_student(settings.student)


def _fit(
    student: Student,
    settings: TrainSettings,
    sources: Sequence[Source],
    output: Path,
    processes: tuple[int, int],
) -> tuple[dict[str, Any], int]:
    """Train; returns the figures of the manifest and the steps done."""
    from distill.training.average import Average
    from distill.training.dev import dev_sets
    from distill.training.journal import Journal
    from distill.training.loop import build_trainer
    from distill.training.preparing import prepare

    rank, _ = processes
    dev = dev_sets(sources, settings.dev)
    journal = Journal(output / JOURNAL, writes=rank == 0)
    adapters = prepare(student, settings)
    average = Average(student, settings.optimiser.average)
    trainer = build_trainer(
        student, settings, sources, dev, output / CHECKPOINTS, journal, processes, average
    )
    checkpoint = newest_checkpoint(output / CHECKPOINTS)
    before = _before(trainer, dev, settings, output, journal, resumed=checkpoint is not None)
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    average.keep()
    if adapters is not None:
        adapters.merge()
    metrics = _figures(trainer, dev, before)
    journal.write("done", steps=trainer.state.global_step, **metrics)
    return metrics, int(trainer.state.best_global_step or trainer.state.global_step)


def _before(
    trainer: ListTrainer,
    dev: Sequence[DevSet],
    settings: TrainSettings,
    output: Path,
    journal: Any,
    *,
    resumed: bool,
) -> float | None:
    """Dev NDCG@10 of the student before its first step."""
    if not dev or not settings.schedule.evaluate_first:
        return None
    if resumed:
        return _recorded(output / JOURNAL)
    value = trainer.dev_figures()
    journal.write("before", **value)
    log.info("before the first step: dev NDCG@10 %.4f", value["eval_ndcg"])
    return value["eval_ndcg"]


def _recorded(path: Path) -> float | None:
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if row.get("event") == "before":
            return float(row["eval_ndcg"])
    return None


def _figures(trainer: ListTrainer, dev: Sequence[DevSet], before: float | None) -> dict[str, Any]:
    used, padded = trainer.tokens
    figures: dict[str, Any] = {"padding_share": round(1 - used / padded, 4) if padded else None}
    if dev:
        best = trainer.state.best_metric
        figures |= {"dev_ndcg@10": best, "dev_ndcg@10_before": before}
        if before is not None and best is not None and best <= before:
            log.warning(
                "training did not help: dev NDCG@10 %.4f before, %.4f at best after; see %s",
                before,
                best,
                JOURNAL,
            )
    return figures


def newest_checkpoint(folder: Path) -> Path | None:
    """Return the newest checkpoint that was written to its end; the Trainer writes its state file last."""
    complete = []
    for state in folder.glob("checkpoint-*/trainer_state.json"):
        try:
            complete.append((int(json.loads(state.read_text(encoding="utf-8"))["global_step"]), state.parent))
        except (ValueError, KeyError, OSError):
            continue
    return max(complete)[1] if complete else None


def _publish(
    settings: TrainSettings,
    student: Student,
    sources: Sequence[Source],
    metrics: Mapping[str, Any],
    steps: int,
    teachers: Sequence[Mapping[str, Any]],
    folder: Path,
) -> ModelManifest:
    scratch = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(scratch, ignore_errors=True)
    student.save(scratch)
    manifest = write_manifest(scratch, _manifest(settings, student, sources, metrics, steps, teachers))
    shutil.rmtree(folder, ignore_errors=True)
    scratch.rename(folder)
    log.info("wrote %s", folder)
    return manifest


def _manifest(
    settings: TrainSettings,
    student: Student,
    sources: Sequence[Source],
    metrics: Mapping[str, Any],
    steps: int,
    teachers: Sequence[Mapping[str, Any]],
) -> ModelManifest:
    lists = [one for source in sources for one in source.train]
    named = {str(card.get("teacher", card.get("name", ""))) for card in teachers}
    unnamed = sorted({one.teacher for one in lists} - named)
    return ModelManifest(
        kind=student.kind,
        name=student.name,
        base=Path(student.base).name,
        scripts=settings.student.scripts or scripts_of(settings.student.base),
        max_tokens=student.max_tokens,
        training=TrainingRecord(
            data=fingerprint(sources),
            lists=len(lists),
            queries=len({one.query.query_id for one in lists}),
            recipe=_recipe(settings),
            seed=settings.seed,
            steps=steps,
            commit=_commit(),
        ),
        teachers=(*teachers, *({"teacher": name} for name in unnamed)),
        metrics=dict(metrics),
        licence=settings.licence,
    )


def _recipe(settings: TrainSettings) -> dict[str, Any]:
    """The settings without the machine's paths: file names are enough to tell two recipes apart."""
    fields: dict[str, Any] = json.loads(settings.model_dump_json(exclude={"exclude_queries"}))
    fields["student"]["base"] = Path(settings.student.base).name
    for source in fields["sources"]:
        source["path"] = Path(source["path"]).name
        if source["corpus"] is not None:
            source["corpus"] = Path(source["corpus"]).name
    return fields


def _commit() -> str | None:
    git = shutil.which("git")
    if git is None:
        return None
    done = subprocess.run(
        [git, "rev-parse", "HEAD"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
    )
    return done.stdout.strip() or None
