"""The collection as Qdrant describes one: counts, vectors, payload indexes."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict

from qdrant_client.http import models

from indexing.collection.protocol import DENSE, INTEGER_FIELDS, KEYWORD_FIELDS, SPARSE
from indexing.collection.qdrant import quantization_config
from indexing.settings import CollectionSettings
from serving.access.principal import Principal
from serving.qdrant_api.filters import filter_of
from serving.state import Service

_OPTIONAL = ("section", "page", "title")  # every point has the others
_WAL_MB = 32
_FULL_SCAN_KB = 10_000
_INDEXING_KB = 20_000


async def collection_info(service: Service, principal: Principal) -> models.CollectionInfo:
    """Return the description, counted over the caller's tenant.

    Segments and indexed vectors are of all tenants: only a caller with the
    scope ``admin`` is told them; others read 1 segment and no figure.
    """
    collection, tenant = service.collection, principal.tenant
    info = await collection.info()
    points, *others = await asyncio.gather(
        collection.count(tenant=tenant),
        *(collection.count(tenant=tenant, filter=filter_of(_has(field))) for field in _OPTIONAL),
    )
    counts = dict(zip(_OPTIONAL, others, strict=True))
    sees_all = principal.is_admin
    return models.CollectionInfo(
        status=models.CollectionStatus.YELLOW if info.optimizing else models.CollectionStatus.GREEN,
        optimizer_status=models.OptimizersStatusOneOf.OK,
        points_count=points,
        indexed_vectors_count=info.indexed_points if sees_all else None,
        segments_count=info.segments if sees_all else 1,
        config=_config(service.settings.collection, asdict(info.spec), info.spec.dimensions),
        payload_schema={
            **{field: _keyword(field, counts.get(field, points)) for field in KEYWORD_FIELDS},
            **{field: _integer(counts.get(field, points)) for field in INTEGER_FIELDS},
        },
    )


def _has(field: str) -> models.Filter:
    empty = models.IsEmptyCondition(is_empty=models.PayloadField(key=field))
    return models.Filter(must_not=[empty])


def _config(settings: CollectionSettings, spec: dict[str, object], size: int) -> models.CollectionConfig:
    modifier = models.Modifier.IDF if spec["sparse_idf"] else None
    return models.CollectionConfig(
        params=models.CollectionParams(
            vectors={
                DENSE: models.VectorParams(
                    size=size,
                    distance=models.Distance.COSINE,
                    quantization_config=quantization_config(settings),
                )
            },
            sparse_vectors={SPARSE: models.SparseVectorParams(modifier=modifier)},
            shard_number=1,
            replication_factor=1,
            write_consistency_factor=1,
        ),
        hnsw_config=models.HnswConfig(
            m=settings.hnsw_m,
            ef_construct=settings.hnsw_ef_construct,
            full_scan_threshold=_FULL_SCAN_KB,
        ),
        optimizer_config=models.OptimizersConfig(
            default_segment_number=2, indexing_threshold=_INDEXING_KB, flush_interval_sec=5
        ),
        wal_config=models.WalConfig(wal_capacity_mb=_WAL_MB, wal_segments_ahead=0),
        metadata={"winnow": json.loads(json.dumps(spec))},
    )


def _keyword(field: str, points: int) -> models.PayloadIndexInfo:
    params = models.KeywordIndexParams(
        type=models.KeywordIndexType.KEYWORD, is_tenant=True if field == "tenant" else None
    )
    return models.PayloadIndexInfo(data_type=models.PayloadSchemaType.KEYWORD, params=params, points=points)


def _integer(points: int) -> models.PayloadIndexInfo:
    params = models.IntegerIndexParams(type=models.IntegerIndexType.INTEGER, lookup=True, range=True)
    return models.PayloadIndexInfo(data_type=models.PayloadSchemaType.INTEGER, params=params, points=points)
