"""Filters, vectors and records in qdrant-client's words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from qdrant_client import models

from indexing.collection.filters import Condition, Filter, alternatives, json_path
from indexing.collection.protocol import DENSE, POOLED, SPARSE, TOKENS, StoredPoint
from indexing.records import Embedding, Hit, Scalar, SparseVector, TokenVectors

_NO_TERMS = SparseVector((), ())


def tenant_filter(tenant: str) -> models.Filter:
    return models.Filter(must=[_equals("tenant", tenant)])


def document_filter(tenant: str, doc_id: str, keep_version: str | None) -> models.Filter:
    """A document's points, all versions or all but one."""
    keep = None if keep_version is None else [_equals("version", keep_version)]
    return models.Filter(must=[_equals("tenant", tenant), _equals("doc_id", doc_id)], must_not=keep)


def translate(tenant: str | None, wanted: Filter | None) -> models.Filter | None:
    """The tenant and every condition, all of which must hold; None when there is neither."""
    must: list[Any] = []
    must_not: list[Any] = []
    if tenant is not None:
        must.append(_equals("tenant", tenant))
    for condition in wanted.conditions if wanted else ():
        (must_not if condition.none_of else must).append(_condition(condition))
    if wanted is not None and wanted.native is not None:
        must.append(models.Filter.model_validate_json(wanted.native))
    if not must and not must_not:
        return None
    return models.Filter(must=must or None, must_not=must_not or None)


def _equals(key: str, value: str) -> models.FieldCondition:
    return models.FieldCondition(key=key, match=models.MatchValue(value=value))


def _condition(condition: Condition) -> models.FieldCondition | models.Filter:
    path = json_path(condition.key)
    if condition.prefix is not None:
        return models.FieldCondition(key=path, match=models.MatchPrefix(prefix=condition.prefix))
    if condition.bounds:
        bounds = dict(condition.bounds)
        return models.FieldCondition(
            key=path,
            range=models.Range(
                gte=bounds.get("gte"), gt=bounds.get("gt"), lte=bounds.get("lte"), lt=bounds.get("lt")
            ),
        )
    return _any_of(condition.key, path, condition.any_of or condition.none_of)


def _any_of(key: str, path: str, values: tuple[Scalar, ...]) -> models.Filter:
    kinds = alternatives(key, values)
    should: list[Any] = []
    if kinds.strings:
        should.append(models.FieldCondition(key=path, match=models.MatchAny(any=list(kinds.strings))))
    if kinds.integers:
        should.append(models.FieldCondition(key=path, match=models.MatchAny(any=list(kinds.integers))))
    for number in kinds.numbers:
        should.append(models.FieldCondition(key=path, range=models.Range(gte=number, lte=number)))
    for flag in kinds.booleans:
        should.append(models.FieldCondition(key=path, match=models.MatchValue(value=flag)))
    if not should:
        should.append(models.FieldCondition(key=path, match=models.MatchAny(any=[])))
    return models.Filter(should=should)


def vectors(embedding: Embedding) -> dict[str, Any]:
    named: dict[str, Any] = {}
    if embedding.dense is not None:
        named[DENSE] = embedding.dense.tolist()
    if embedding.sparse.indices:
        named[SPARSE] = sparse(embedding.sparse)
    if embedding.tokens is not None:
        named[TOKENS] = embedding.tokens.tokens.tolist()
        if embedding.tokens.pooled is not None:
            named[POOLED] = embedding.tokens.pooled.tolist()
    return named


def sparse(vector: SparseVector) -> models.SparseVector:
    return models.SparseVector(indices=list(vector.indices), values=[float(value) for value in vector.values])


def hits(rows: Sequence[models.ScoredPoint]) -> list[Hit]:
    """Ranked hits, equal scores ordered by id."""
    ordered = sorted(
        ((-row.score, str(row.id), row.payload or {}) for row in rows), key=lambda item: item[:2]
    )
    return [Hit(key, -negative, rank, payload) for rank, (negative, key, payload) in enumerate(ordered, 1)]


def stored(row: models.Record, with_vectors: bool) -> StoredPoint:
    embedding: Embedding | None = None
    if with_vectors:
        named = named_vectors(row)
        dense, terms = named.get(DENSE), named.get(SPARSE)
        embedding = Embedding(
            dense=None if dense is None else np.asarray(dense, dtype=np.float32),
            sparse=_NO_TERMS if terms is None else SparseVector(tuple(terms.indices), tuple(terms.values)),
            tokens=_tokens(named),
        )
    return StoredPoint(str(row.id), row.payload or {}, embedding)


def _tokens(named: Mapping[str, Any]) -> TokenVectors | None:
    tokens, pooled = named.get(TOKENS), named.get(POOLED)
    if tokens is None:
        return None
    return TokenVectors(
        np.asarray(tokens, dtype=np.float32),
        None if pooled is None else np.asarray(pooled, dtype=np.float32),
    )


def named_vectors(row: models.Record) -> Mapping[str, Any]:
    return row.vector if isinstance(row.vector, dict) else {}
