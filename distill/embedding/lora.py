"""LoRA on an encoder: adapters in for training, merged into the weights for the folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from indexing.errors import MissingDependencyError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


def add_lora(model: SentenceTransformer, rank: int) -> None:
    """Freeze the encoder and put adapters of ``rank`` beside every linear layer.

    alpha is twice the rank, no dropout.  Source: Hu et al., "LoRA", 2021 (arXiv 2106.09685).
    """
    try:
        from peft import LoraConfig
    except ImportError as error:
        raise MissingDependencyError("peft", "train", "training with LoRA") from error
    model.add_adapter(
        LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules="all-linear", bias="none")
    )


def merge_lora(model: SentenceTransformer, base: SentenceTransformer) -> SentenceTransformer:
    """Return ``base`` with the weights of ``model``, its adapters added to them.

    ``model`` is a checkpoint of :func:`add_lora` on the same base.  transformers
    injects adapters into the model itself, where peft's ``merge_and_unload``
    cannot reach them; and a model that was loaded with an adapter writes its
    weights under the adapter's names ever after (measured with 5.23), so the
    merged weights go into a base that never had one.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    inner: Any = model.transformers_model
    for path, layer in list(inner.named_modules()):
        if isinstance(layer, BaseTunerLayer):
            layer.merge(safe_merge=True)
            parent, _, name = path.rpartition(".")
            setattr(inner.get_submodule(parent) if parent else inner, name, layer.get_base_layer())
    base.load_state_dict(model.state_dict())
    return base
