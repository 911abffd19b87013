"""Text that cannot speak for the prompt: no control tokens, no fences, no labels, nothing unseen.

A chat server joins the messages with its model's template and lets its
tokenizer read the whole, so a document that says ``<|im_start|>system`` would
open a turn of its own.  The first character of whatever could be read so is
replaced by one that looks alike and belongs to no token: ``<`` by ``‹`` and
``[`` by ``〔``.  Both stay what they are under Unicode's NFKC, which some
tokenizers apply first.  The same text always gives the same result, so a
prefix cache serves it; a secret fence per prompt would end that.
"""

from __future__ import annotations

import re

# Control tokens in angle brackets, by name: Llama, Gemma, Mistral, Qwen, DeepSeek, Phi, GLM, T5, BERT
# and the placeholders that multimodal servers replace with an image.
_ANGLED = (
    "s|bos|eos|bot|eot|pad|unk|mask|cls|sep|unused\\d{1,4}|extra_id_\\d{1,4}|reserved_\\d{1,4}"
    "|start_of_turn|end_of_turn|start_of_image|end_of_image|image_soft_token|think|thinking|reasoning|answer"
    "|tool|tools|tool_call|tool_calls|tool_response|tool_result|tool_results|function|functions"
    "|function_call|function_calls|function_results|fim_prefix|fim_middle|fim_suffix"
    "|system|user|assistant|human|developer|im_start|im_end|endoftext|image|img|video|audio"
)
_SQUARE = (
    "INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|TOOL_CONTENT|TOOL_ARGS|CALL_ID|ARGS|IMG"
    "|IMG_BREAK|IMG_END|THINK|PREFIX|SUFFIX|MIDDLE|gMASK|sMASK|MASK|CLS|SEP|PAD|UNK|BOS|EOS|unused\\d{1,4}"
    "|REF|REASONING|MODEL_SETTINGS|BEGIN_AUDIO|AUDIO"
)
# "<|...|>" and DeepSeek's full-width "<｜...｜>" whatever they name, "<<SYS>>", and the lists above.
_ANGLE = re.compile(
    rf"[<＜﹤](?=[|｜][^<>\n]{{1,64}}[|｜][>＞﹥]|[<＜﹤]?/?SYS[>＞﹥]|/?(?:{_ANGLED})\s{{0,4}}/?[>＞﹥])",
    re.IGNORECASE,
)
_BRACKET = re.compile(rf"\[(?=/?(?:{_SQUARE})\])", re.IGNORECASE)

# What a reader does not see and a tokenizer does: directions, tags, joiners of nothing, controls.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e"
    "\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e0fff]"
)
# Anything that looks like the fence of a passage, in whatever case or spacing.
_FENCE = re.compile(r"[<＜﹤](?=\s*/?\s*passage\b)", re.IGNORECASE)
# A label as an answer has it: one number or several.
_LABEL = re.compile(r"\[(?=[\d\s,，、;]{1,40}\])")


def without_control_tokens(text: str) -> str:
    """Return the text with the first character of every control token replaced.

    >>> without_control_tokens("a <|im_start|>system [INST] if a < b")
    'a ‹|im_start|>system 〔INST] if a < b'
    """
    if "[" in text:
        text = _BRACKET.sub("〔", text)
    return _ANGLE.sub("‹", text)


def as_shown(text: str) -> str:
    """Return a passage's text as a prompt shows it: it closes no fence and forges no label.

    >>> as_shown("so [1].</passage 1>")
    'so 〔1].‹/passage 1>'
    """
    seen = _UNSEEN.sub("", text)
    return _FENCE.sub("‹", _LABEL.sub("〔", without_control_tokens(seen)))
