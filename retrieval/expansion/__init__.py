"""What a language model does to a question before it is searched for."""

from retrieval.expansion.classify import Route, classify
from retrieval.expansion.decompose import decompose
from retrieval.expansion.hyde import hypothetical_passage
from retrieval.expansion.multi_query import paraphrases
from retrieval.expansion.records import Expanded
from retrieval.expansion.rewrite import standalone_question

__all__ = [
    "Expanded",
    "Route",
    "classify",
    "decompose",
    "hypothetical_passage",
    "paraphrases",
    "standalone_question",
]
