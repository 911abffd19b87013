"""Token vectors in qdrant-client's words; see :mod:`indexing.collection.edge_tokens` for the reasons."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from qdrant_client import models

from indexing.collection.protocol import POOLED, TOKENS, CollectionSpec, TokenMatches
from indexing.collection.qdrant_filters import tenant_filter
from indexing.records import FloatArray
from indexing.settings import CollectionSettings

_FORMATS = {"8bit": models.Datatype.TURBO8, "16bit": models.Datatype.FLOAT16}


def token_params(spec: CollectionSpec, settings: CollectionSettings) -> dict[str, models.VectorParams]:
    """The named vectors of a collection that stores tokens; empty for one that does not."""
    if not spec.token_dimensions:
        return {}
    no_graph = models.HnswConfigDiff(m=0)
    params = {
        TOKENS: models.VectorParams(
            size=spec.token_dimensions,
            distance=models.Distance.COSINE,
            multivector_config=models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM),
            datatype=_FORMATS[settings.tokens_format],
            hnsw_config=no_graph,
            on_disk=True,
        )
    }
    if spec.pooled_dimensions:
        params[POOLED] = models.VectorParams(
            size=spec.pooled_dimensions,
            distance=models.Distance.DOT,
            datatype=models.Datatype.FLOAT16,
            hnsw_config=no_graph,
            on_disk=True,
        )
    return params


def token_requests(
    tokens: FloatArray, ids: Sequence[str], tenant: str, *, with_pooled: bool, local: bool
) -> list[models.QueryRequest]:
    """One request a query token; the first brings the pooled vectors along.

    ``local``: the memory home, which is always exact and warns when told so.
    """
    where = models.Filter(must=[tenant_filter(tenant), models.HasIdCondition(has_id=list(ids))])
    return [
        models.QueryRequest(
            query=[token.tolist()],
            using=TOKENS,
            limit=len(ids),
            filter=where,
            params=None if local else models.SearchParams(exact=True),
            with_payload=False,
            with_vector=[POOLED] if with_pooled and column == 0 else False,
        )
        for column, token in enumerate(tokens)
    ]


def gathered(
    answers: Sequence[Sequence[models.ScoredPoint]],
    ids: Sequence[str],
    query_tokens: int,
    pooled_dimensions: int,
    elapsed: float,
) -> TokenMatches:
    """The answers of :func:`token_requests` as matrices in the order of ``ids``."""
    best = np.full((len(ids), query_tokens), np.nan, dtype=np.float32)
    pooled = np.full((len(ids), pooled_dimensions), np.nan, dtype=np.float32)
    places = {key: place for place, key in enumerate(ids)}
    for column, rows in enumerate(answers):
        for row in rows:
            place = places[str(row.id)]
            best[place, column] = row.score
            if isinstance(row.vector, dict) and POOLED in row.vector:
                pooled[place] = np.asarray(row.vector[POOLED], dtype=np.float32)
    return TokenMatches(best, pooled, elapsed)
