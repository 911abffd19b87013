"""The training run itself: sentence-transformers' trainer, checkpoints, the choice of the best."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.embedding.dev import Look, look, refuse_collapsed
from distill.embedding.lists import ListRow
from distill.embedding.negatives import Guide, Row
from distill.embedding.search import NDCG
from distill.embedding.sets import RetrievalSet
from distill.embedding.settings import EmbedSettings
from distill.errors import TrainingError
from distill.training.run import newest_checkpoint
from indexing.encoders.sentence_transformer import prefixes_of

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict  # type: ignore[import-untyped]
    from sentence_transformers import SentenceTransformer, SentenceTransformerTrainingArguments

log = logging.getLogger(__name__)

_METRIC = "eval_dev_ndcg10"


@dataclass(frozen=True, slots=True)
class Trained:
    """How a run ended; ``checkpoint`` is the folder of the best one."""

    steps: int
    checkpoint: Path
    dev: float


@dataclass(frozen=True, slots=True)
class Examples:
    """What is trained on: pairs with negatives and their guide, or a teacher's lists by their length."""

    rows: Sequence[Row] = ()
    guide: Guide | None = None
    lists: Mapping[int, Sequence[ListRow]] | None = None

    def dataset(self) -> Dataset | DatasetDict:
        """Return the examples in the columns that sentence-transformers' losses take."""
        from datasets import Dataset, DatasetDict

        if self.lists is not None:
            parts = {f"lists_of_{size}": _list_columns(size, rows) for size, rows in self.lists.items()}
            if len(parts) == 1:
                return Dataset.from_dict(next(iter(parts.values())))
            return DatasetDict({name: Dataset.from_dict(columns) for name, columns in parts.items()})
        if self.guide is None:
            raise TrainingError("pairs are trained on with a guide's vectors, and there are none")
        texts = self.guide.texts
        columns: dict[str, list[Any]] = {
            "query": [texts.queries[row.query] for row in self.rows],
            "positive": [texts.documents[row.positive] for row in self.rows],
        }
        for at in range(len(self.rows[0].negatives)):
            columns[f"negative_{at + 1}"] = [texts.documents[row.negatives[at]] for row in self.rows]
        columns["label"] = list(range(len(self.rows)))
        return Dataset.from_dict(columns)


def train(
    model: SentenceTransformer,
    examples: Examples,
    dev: Sequence[RetrievalSet],
    base: Look,
    settings: EmbedSettings,
    folder: Path,
) -> Trained:
    """Train ``model`` in place, going on from the last checkpoint in ``folder`` where there is one.

    Dev is looked at every ``schedule.eval_steps``; training stops after
    ``schedule.patience`` looks without a better NDCG@10.

    Raises:
        TrainingError: the loss or a vector is not finite; no checkpoint was reached.
        CollapseError: the passages' vectors draw together.
    """
    from transformers import EarlyStoppingCallback, PrinterCallback

    from distill.embedding.losses import build_loss, in_fp32

    if settings.schedule.gradient_checkpointing:
        inner: Any = model.transformers_model
        inner.gradient_checkpointing_enable({"use_reentrant": False})
    hook = in_fp32(model)
    trainer = _trainer_class()(
        model=model,
        args=_arguments(model, settings, folder),
        train_dataset=examples.dataset(),
        loss=build_loss(model, settings, examples.guide, examples.rows),
        evaluator=_evaluator(dev, base, settings),
        callbacks=[EarlyStoppingCallback(settings.schedule.patience), _finite_loss()],
    )
    trainer.remove_callback(PrinterCallback)  # it prints every log line to stdout
    checkpoint = newest_checkpoint(folder)
    try:
        trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    finally:
        hook.remove()
    best = trainer.state.best_model_checkpoint
    if best is None or trainer.state.best_metric is None:
        raise TrainingError(f"training ended at step {trainer.state.global_step} without a look at dev")
    return Trained(trainer.state.global_step, Path(best), float(trainer.state.best_metric))


def _arguments(
    model: SentenceTransformer, settings: EmbedSettings, folder: Path
) -> SentenceTransformerTrainingArguments:
    import torch
    from sentence_transformers import SentenceTransformerTrainingArguments

    from distill.embedding.sampler import DistinctLengthBatches, LengthBatches

    plan = settings.schedule
    return SentenceTransformerTrainingArguments(
        output_dir=str(folder),
        num_train_epochs=plan.epochs,
        max_steps=plan.max_steps or -1,
        per_device_train_batch_size=plan.batch_size,
        gradient_accumulation_steps=plan.accumulate,
        learning_rate=plan.learning_rate,
        warmup_steps=plan.warmup,
        weight_decay=plan.weight_decay,
        bf16=settings.precision == "bf16",
        use_cpu=not torch.cuda.is_available(),  # bf16 on a CPU is refused otherwise
        seed=settings.seed,
        data_seed=settings.seed,
        prompts=_prompts(model, settings),
        batch_sampler=DistinctLengthBatches if settings.loss == "infonce" else LengthBatches,
        eval_strategy="steps",
        eval_steps=plan.eval_steps,
        save_strategy="steps",
        save_steps=plan.eval_steps,
        save_total_limit=2,
        load_best_model_at_end=False,  # its failure is only logged; the caller opens the best itself
        metric_for_best_model=_METRIC,
        greater_is_better=True,
        restore_callback_states_from_checkpoint=True,
        logging_steps=max(1, plan.eval_steps // 5),
        logging_nan_inf_filter=False,
        dataloader_pin_memory=False,
        report_to="none",
        disable_tqdm=True,
    )


def _prompts(model: SentenceTransformer, settings: EmbedSettings) -> dict[str, str] | None:
    query, document = prefixes_of(model)
    if not query and not document:
        return None
    count = settings.list_size if settings.loss == "kl" else settings.negatives.count
    names = ["positive"] + [f"{kind}_{at + 1}" for kind in ("negative", "passage") for at in range(count)]
    return {"query": query, **dict.fromkeys(names, document)}


def _list_columns(size: int, rows: Sequence[ListRow]) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {"query": [row.query for row in rows]}
    for at in range(size):
        columns[f"passage_{at + 1}"] = [row.texts[at] for row in rows]
    columns["label"] = [list(row.labels) for row in rows]
    return columns


def _trainer_class() -> Any:
    from sentence_transformers import SentenceTransformerTrainer

    class Trainer(SentenceTransformerTrainer):
        """Without the library's model card, which quotes training texts and takes longer than a tiny run."""

        def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
            pass

        def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
            self.model.save_pretrained(str(output_dir or self.args.output_dir), create_model_card=False)

    return Trainer


def _evaluator(dev: Sequence[RetrievalSet], base: Look, settings: EmbedSettings) -> Any:
    from sentence_transformers.base.evaluation import BaseEvaluator

    class DevEvaluator(BaseEvaluator):
        """NDCG@10 on dev; raises on a collapse, so that no hours go into it."""

        def __call__(
            self,
            model: Any,
            output_path: str | None = None,
            epoch: float = -1,
            steps: int = -1,
        ) -> dict[str, float]:
            found = look(model, dev)
            log.info(
                "step %d: dev NDCG@10 %.4f (base %.4f), spread %.3f",
                steps,
                found.mean(),
                base.mean(),
                found.spread,
            )
            refuse_collapsed(found, base, settings.gate.min_spread)
            return {_METRIC.removeprefix("eval_"): found.mean(NDCG), "dev_spread": found.spread}

    return DevEvaluator()  # type: ignore[no-untyped-call]


def _finite_loss() -> Any:
    from transformers import TrainerCallback

    class FiniteLoss(TrainerCallback):
        """Stops a run whose loss is no number."""

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            value = (logs or {}).get("loss")
            if value is None:
                return
            if not float("-inf") < float(value) < float("inf"):
                raise TrainingError(
                    f"the loss is {value} at step {state.global_step}; lower schedule.learning_rate, "
                    "or train in fp32"
                )
            log.info("step %d of %d: loss %.4f", state.global_step, state.max_steps, float(value))

    return FiniteLoss()
