"""A classifier's last layer, computed for the first token alone: the same logits for less work.

The head reads the first token only, so the last layer owes keys and values of
every token but the rest (query, output, feed-forward: ten of its twelve weight
matrices' worth) of one.  That is 14% of a model of six layers, 7% of twelve.
"""

from __future__ import annotations

import logging
from typing import Any

from indexing.errors import EncoderError

logger = logging.getLogger(__name__)

# Models whose layers are BERT's and whose head reads token 0.
MODEL_TYPES = frozenset({"bert", "roberta", "xlm-roberta", "camembert"})
_TOLERANCE = 1e-4  # of the logits' size, at least 1: summation order differs


def shorten_last_layer(model: Any) -> bool:
    """Replace the last layer of a sequence classifier in place; return whether it was replaced.

    Other kinds of models are left as they are.  The model must use eager
    attention; it can be traced or run, but no longer trained.

    Raises:
        EncoderError: the logits differ afterwards.
    """
    import torch

    config = model.config
    if config.model_type not in MODEL_TYPES or config.num_hidden_layers < 1 or config.is_decoder:
        return False
    ids = torch.randint(5, config.vocab_size, (3, 12), generator=torch.Generator().manual_seed(3))
    mask = torch.tensor([[1] * 12, [1] * 7 + [0] * 5, [1] * 2 + [0] * 10])
    with torch.no_grad():
        wanted = model(input_ids=ids, attention_mask=mask).logits
        layers = model.base_model.encoder.layer
        layers[-1] = _first_token(layers[-1])
        worst = float((model(input_ids=ids, attention_mask=mask).logits - wanted).abs().max())
    if not worst <= _TOLERANCE * max(1.0, float(wanted.abs().max())):
        raise EncoderError(f"the shortened last layer changes the logits by {worst:.2e}")
    logger.debug("last layer shortened; logits differ by at most %.1e", worst)
    return True


def _first_token(layer: Any) -> Any:
    import torch

    class FirstToken(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, hidden: torch.Tensor, mask: torch.Tensor | None, *_: Any, **__: Any) -> Any:
            """``(batch, tokens, size)`` to ``(batch, 1, size)``; ``mask`` is added to the attention."""
            attention = self.layer.attention.self
            first = hidden[:, :1]

            def heads(values: torch.Tensor) -> torch.Tensor:
                apart = values.reshape(values.shape[0], values.shape[1], -1, attention.attention_head_size)
                return apart.transpose(1, 2)

            weights = heads(attention.query(first)) @ heads(attention.key(hidden)).transpose(2, 3)
            weights = weights * attention.scaling
            if mask is not None:
                weights = weights + mask[:, :, :1]
            context = weights.softmax(-1) @ heads(attention.value(hidden))
            attended = self.layer.attention.output(context.transpose(1, 2).flatten(2), first)
            return self.layer.output(self.layer.intermediate(attended), attended)

    return FirstToken()
