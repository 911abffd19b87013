"""Token vectors in the embedded engine: how they are stored, and compared inside it.

They rerank a few candidates and are never searched, so they get no HNSW graph
(``m`` 0) and stay on disk until they are asked for.  The engine's own 8-bit
format keeps nothing but the 8 bits, where scalar quantization would keep the
original beside its copy; written again, a vector comes out the same.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import qdrant_edge as qe

from indexing.collection.edge_filters import tenant_filter
from indexing.collection.layout import EngineParameters
from indexing.collection.protocol import POOLED, TOKENS, CollectionSpec, TokenMatches
from indexing.records import FloatArray, TokenVectors

_FORMATS = {"8bit": qe.VectorStorageDatatype.Turbo8, "16bit": qe.VectorStorageDatatype.Float16}


def token_params(spec: CollectionSpec, parameters: EngineParameters) -> dict[str, qe.EdgeVectorParams]:
    """The named vectors of a collection that stores tokens; empty for one that does not."""
    if not spec.token_dimensions:
        return {}
    no_graph = qe.HnswIndexConfig(0, parameters.hnsw_ef_construct, 1)
    params = {
        TOKENS: qe.EdgeVectorParams(
            spec.token_dimensions,
            qe.Distance.Cosine,
            multivector_config=qe.MultiVectorConfig(qe.MultiVectorComparator.MaxSim),
            datatype=_FORMATS[parameters.tokens_format],
            hnsw_config=no_graph,
            memory=qe.Memory.Cold,
        )
    }
    if spec.pooled_dimensions:
        # Dot, not Cosine: what is added up over sentences must keep its length.
        params[POOLED] = qe.EdgeVectorParams(
            spec.pooled_dimensions,
            qe.Distance.Dot,
            datatype=qe.VectorStorageDatatype.Float16,
            hnsw_config=no_graph,
            memory=qe.Memory.Cold,
        )
    return params


def token_vectors(vectors: TokenVectors) -> dict[str, Any]:
    """A point's token vectors by their names."""
    named: dict[str, Any] = {TOKENS: vectors.tokens.tolist()}
    if vectors.pooled is not None:
        named[POOLED] = vectors.pooled.tolist()
    return named


def stored_tokens(named: Mapping[str, Any]) -> TokenVectors | None:
    """The token vectors among those that were read back."""
    tokens, pooled = named.get(TOKENS), named.get(POOLED)
    if tokens is None:
        return None
    return TokenVectors(
        np.asarray(tokens, dtype=np.float32),
        None if pooled is None else np.asarray(pooled, dtype=np.float32),
    )


def token_matches(
    shard: qe.EdgeShard, tokens: FloatArray, ids: Sequence[str], tenant: str, pooled_dimensions: int
) -> TokenMatches:
    """Best cosines ``(n_ids, n_query_tokens)``: one request a query token, all in one call.

    One MaxSim request over all query tokens would give their sum alone, from
    which neither the worst-matched token nor the best match in a window of
    several sentences can be told.
    """
    best = np.full((len(ids), len(tokens)), np.nan, dtype=np.float32)
    pooled = np.full((len(ids), pooled_dimensions), np.nan, dtype=np.float32)
    if not ids:
        return TokenMatches(best, pooled, 0.0)
    where = qe.Filter(must=[tenant_filter(tenant), qe.HasIdCondition(set(ids))])
    requests = [
        qe.QueryRequest(
            limit=len(ids),
            query=qe.Query.Nearest([token.tolist()], using=TOKENS),
            filter=where,
            params=qe.SearchParams(exact=True),
            with_payload=False,
            with_vector=[POOLED] if column == 0 and pooled_dimensions else False,
        )
        for column, token in enumerate(tokens)
    ]
    started = time.perf_counter()
    answers = shard.query_batch(qe.QueryBatchRequest(requests))
    elapsed = (time.perf_counter() - started) * 1000
    places = {key: place for place, key in enumerate(ids)}
    for column, rows in enumerate(answers):
        for row in rows:
            place = places[str(row.id)]
            best[place, column] = row.score
            if isinstance(row.vector, dict) and POOLED in row.vector:
                pooled[place] = np.asarray(row.vector[POOLED], dtype=np.float32)
    return TokenMatches(best, pooled, elapsed)
