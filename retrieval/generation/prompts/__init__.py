"""Prompts laid out so that a prefix cache can serve them, and the linter that checks it."""

from retrieval.generation.prompts.context import ContextPassage, place, render_passage
from retrieval.generation.prompts.gathering import ReadWindows, gather_passages
from retrieval.generation.prompts.layout import INSTRUCTION, NOT_IN_DOCUMENTS, Prompt, Turn, build_prompt
from retrieval.generation.prompts.linter import PrefixReport, compare_prompts
from retrieval.generation.prompts.packing import Packed, pack

__all__ = [
    "INSTRUCTION",
    "NOT_IN_DOCUMENTS",
    "ContextPassage",
    "Packed",
    "PrefixReport",
    "Prompt",
    "ReadWindows",
    "Turn",
    "build_prompt",
    "compare_prompts",
    "gather_passages",
    "pack",
    "place",
    "render_passage",
]
