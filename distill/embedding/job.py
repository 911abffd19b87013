"""One fine-tune from its data to a model folder.

::

    RUN/
    ├── run.json            settings and data fingerprint the run was started with
    ├── before.json         the base's NDCG@10 and the rest, per query
    ├── guide.safetensors   the guide's vectors of the training texts (loss infonce)
    ├── checkpoints/        the newest and the best
    ├── trained.json        training is done: its steps, its best checkpoint
    └── model/              a sentence-transformers folder with model.json; only past the gate

A run that was stopped goes on where it was when it is started again with the
same settings and data; bounds of the gate may change in between.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from distill.embedding.data import EmbedData
from distill.embedding.dev import Look, checked_dev, look, refuse_collapsed
from distill.embedding.gate import Change, check
from distill.embedding.lists import list_rows
from distill.embedding.negatives import Guide, mine, number_texts
from distill.embedding.publish import manifest_of, publish
from distill.embedding.search import ModelEncoder
from distill.embedding.sets import RetrievalSet
from distill.embedding.settings import EmbedSettings
from distill.embedding.training import Examples, Trained, train
from distill.errors import TrainingError
from distill.model_folder import ModelManifest, is_model_folder, read_model_folder
from distill.students.bases import base_folder
from indexing.encoders.sentence_transformer import max_tokens_of, open_sentence_transformer
from indexing.errors import SettingsError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

log = logging.getLogger(__name__)

RUN, BEFORE, GUIDE, TRAINED = "run.json", "before.json", "guide.safetensors", "trained.json"
CHECKPOINTS, MODEL = "checkpoints", "model"


@dataclass(frozen=True, slots=True)
class EmbedResult:
    """What a run gave; ``changes`` is empty when the model was there already."""

    folder: Path
    manifest: ModelManifest
    changes: tuple[Change, ...] = ()


def fine_tune(settings: EmbedSettings, data: EmbedData, output: Path) -> EmbedResult:
    """Fine-tune the base on ``data`` and write ``output``; the model is in ``output/model``.

    Raises:
        TrainingError: a dev split of one query, another run in ``output``, a
            loss that is not finite.
        CollapseError: the passages' vectors draw together.
        GateError: the result is worse than the base on dev, or out of domain.
    """
    _claim(settings, data, output)
    folder = output / MODEL
    if is_model_folder(folder):
        log.info("%s is trained already", folder)
        return EmbedResult(folder, read_model_folder(folder))
    _quiet(settings)
    dev = checked_dev(data.dev, settings.dev_documents, settings.seed)
    base = base_folder(settings.base)
    model = open_sentence_transformer(base)
    _fits(settings, model)
    before = {"dev": dev, "outside": list(data.outside)}
    looks = _before(model, before, output / BEFORE)
    done = output / TRAINED
    trained = _recorded(done)
    if trained is None:
        examples = _examples(settings, data, model, output / GUIDE)
        trained = _trained(model, settings, examples, dev, looks["dev"], output)
    best = _best(settings, output / CHECKPOINTS / trained.checkpoint.name)
    after = look(best, dev)
    refuse_collapsed(after, looks["dev"], settings.gate.min_spread)
    outside = (looks["outside"], look(best, data.outside)) if data.outside else None
    if outside is None:
        log.warning("no --out-of-domain set: what the encoder lost elsewhere is not known")
    found = check((looks["dev"], after), outside, settings.gate)
    manifest = publish(best, manifest_of(settings, data, best, found, trained.steps, output.name), folder)
    shutil.rmtree(output / CHECKPOINTS, ignore_errors=True)
    (output / GUIDE).unlink(missing_ok=True)
    return EmbedResult(folder, manifest, tuple(found))


def _claim(settings: EmbedSettings, data: EmbedData, output: Path) -> None:
    """Make the folder this run's own, or check that it is."""
    ours = {
        "settings": json.loads(settings.model_dump_json(exclude={"gate": True, "schedule": {"threads"}})),
        "data": data.fingerprint(),
    }
    path = output / RUN
    if path.is_file():
        theirs = json.loads(path.read_text(encoding="utf-8"))
        if theirs != ours:
            changed = [
                key for key in ours["settings"] if ours["settings"][key] != theirs["settings"].get(key)
            ]
            changed += ["the data"] if ours["data"] != theirs["data"] else []
            raise TrainingError(
                f"{output} holds another run (different: {', '.join(changed) or 'its version'}); "
                "name a new folder, or remove this one to start again"
            )
        return
    output.mkdir(parents=True, exist_ok=True)
    if any(output.iterdir()):
        raise TrainingError(f"{output} is not empty and holds no run; name a new folder")
    path.write_text(json.dumps(ours, indent=2) + "\n", encoding="utf-8")


def _quiet(settings: EmbedSettings) -> None:
    import torch
    from transformers import set_seed
    from transformers.utils import logging as chatter

    chatter.disable_progress_bar()  # type: ignore[no-untyped-call]
    chatter.set_verbosity_error()  # type: ignore[no-untyped-call]
    if settings.schedule.threads:
        torch.set_num_threads(settings.schedule.threads)
    set_seed(settings.seed)


def _fits(settings: EmbedSettings, model: SentenceTransformer) -> None:
    full = model.get_embedding_dimension() or 0
    if any(dimensions > full for dimensions in settings.matryoshka):
        raise SettingsError(f"matryoshka: {settings.base} has {full} dimensions, and a prefix has no more")


def _before(model: SentenceTransformer, sets: dict[str, list[RetrievalSet]], path: Path) -> dict[str, Look]:
    """Return the base's looks at dev and outside; a resumed run reads what it measured first."""
    if path.is_file():
        fields = json.loads(path.read_text(encoding="utf-8"))
        names = {kind: [one.name for one in given] for kind, given in sets.items()}
        if {kind: list(one["scores"]) for kind, one in fields.items()} == {
            k: v for k, v in names.items() if v
        }:
            return {kind: Look(one["scores"], one["spread"]) for kind, one in fields.items()}
    looks = {kind: look(model, given) for kind, given in sets.items() if given}
    path.write_text(json.dumps({kind: asdict(one) for kind, one in looks.items()}), encoding="utf-8")
    return looks


def _examples(settings: EmbedSettings, data: EmbedData, model: SentenceTransformer, kept: Path) -> Examples:
    if settings.loss == "kl":
        return Examples(lists=list_rows(data.lists, settings))
    from safetensors.numpy import load_file, save_file

    margin = settings.negatives.margin
    texts = number_texts(data.train, whole_corpus=settings.negatives.count > 0)
    if kept.is_file():
        vectors = load_file(kept)
        guide = Guide(texts, vectors["queries"], vectors["documents"], margin=margin)
    else:
        chosen = settings.negatives.guide
        encoder = ModelEncoder(open_sentence_transformer(base_folder(chosen)) if chosen else model)
        guide = Guide.of(encoder, texts, margin=margin)
        save_file({"queries": guide.queries, "documents": guide.documents}, kept)
    rows = mine(guide, settings.negatives)
    log.info("%d pairs to train on, %d mined negatives each", len(rows), settings.negatives.count)
    return Examples(rows=rows, guide=guide)


def _trained(
    model: SentenceTransformer,
    settings: EmbedSettings,
    examples: Examples,
    dev: Sequence[RetrievalSet],
    base: Look,
    output: Path,
) -> Trained:
    from transformers import set_seed

    from distill.embedding.lora import add_lora

    _set_max_tokens(settings, model)
    set_seed(settings.seed)
    if settings.lora_rank:
        add_lora(model, settings.lora_rank)
    trained = train(model, examples, dev, base, settings, output / CHECKPOINTS)
    fields = {"steps": trained.steps, "checkpoint": trained.checkpoint.name, "dev": trained.dev}
    (output / TRAINED).write_text(json.dumps(fields) + "\n", encoding="utf-8")
    return trained


def _recorded(path: Path) -> Trained | None:
    if not path.is_file():
        return None
    fields = json.loads(path.read_text(encoding="utf-8"))
    return Trained(fields["steps"], Path(fields["checkpoint"]), fields["dev"])


def _best(settings: EmbedSettings, checkpoint: Path) -> SentenceTransformer:
    from distill.embedding.lora import merge_lora

    model = open_sentence_transformer(checkpoint)
    if settings.lora_rank:
        model = merge_lora(model, open_sentence_transformer(base_folder(settings.base)))
    _set_max_tokens(settings, model)
    return model.float()


def _set_max_tokens(settings: EmbedSettings, model: SentenceTransformer) -> None:
    if settings.max_tokens is not None:
        model.max_seq_length = min(settings.max_tokens, max_tokens_of(model))
