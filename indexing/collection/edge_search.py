"""How the dense vectors of a shard are searched: by the graph, by ACORN, or one by one."""

from __future__ import annotations

from dataclasses import dataclass

import qdrant_edge as qe

from indexing.collection.edge_config import FULL_SCAN_KB
from indexing.collection.edge_filters import carried_by_links
from indexing.collection.filters import Filter
from indexing.collection.layout import EngineParameters
from indexing.collection.protocol import GraphSearch

# A filter that keeps less than this of the vectors is scanned: as quick as the graph, and exact.
FILTERED_SCAN_KB = 30_000


@dataclass(frozen=True, slots=True)
class DenseSearch:
    """What a shard's dense vectors were built with, as far as a search must know.

    Attributes:
        dimensions: of a vector.
        quantized: whether the graph reads fewer bits than the vectors have.
        linked_share: of the points; a linked field's value that no more have hangs together.
    """

    dimensions: int
    quantized: bool
    linked_share: float

    @classmethod
    def of(cls, dimensions: int, parameters: EngineParameters) -> DenseSearch:
        # The engine links a value whose points the graph alone holds together worse than it holds a
        # random share of 2 / (mean links of a node) of all points; a node has 2 m links at most.
        return cls(dimensions, parameters.quantization != "none", 1 / parameters.hnsw_m)

    def scans(self, points: int) -> bool:
        """Whether so few have no graph; by their full vectors that is exact and quick."""
        return self._fits(points, FULL_SCAN_KB)

    def params(
        self,
        shard: qe.EdgeShard,
        where: qe.Filter | None,
        wanted: Filter | None,
        graph: GraphSearch,
        *,
        exact: bool,
        scanned: bool,
    ) -> qe.SearchParams:
        """Return the parameters of a request.

        Args:
            shard: estimates how many points the filter keeps.
            where: tenant and filter in the engine's words; None: every point.
            wanted: the filter without the tenant.
            graph: how the graph is walked.
            exact: whether every point is compared.
            scanned: whether the shard has too few points for a graph.
        """
        acorn: qe.AcornSearchParams | None = None
        if where is not None and graph.acorn_selectivity and not (exact or scanned):
            matches = shard.count(qe.CountRequest(exact=False, filter=where))
            exact = self._fits(matches, FILTERED_SCAN_KB)
            linked = carried_by_links(wanted) and matches <= self.linked_share * shard.info().points_count
            if not (exact or linked):  # what the filter leaves of the graph may fall apart
                acorn = qe.AcornSearchParams(enable=True, max_selectivity=graph.acorn_selectivity)
        quantization: qe.QuantizationSearchParams | None = None
        if self.quantized:
            quantization = qe.QuantizationSearchParams(
                ignore=exact or scanned, rescore=True, oversampling=2.0
            )
        return qe.SearchParams(hnsw_ef=graph.ef, exact=exact, quantization=quantization, acorn=acorn)

    def _fits(self, points: int, kilobytes: int) -> bool:
        return points * self.dimensions * 4 <= kilobytes * 1024
