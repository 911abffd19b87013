"""Winnow beside its peers: index rate, bytes, latency, start-up, memory, in one run."""

from __future__ import annotations

from benchmarks.speed.sides import Side

SIDES = ("winnow", "raw-engine", "llama-index", "lancedb", "txtai")


def make_side(name: str) -> Side:
    """Return the side of this name.

    Raises:
        ValueError: a name that is not in ``SIDES``.
    """
    if name in ("winnow", "raw-engine"):
        from benchmarks.speed import ours

        return ours.Winnow() if name == "winnow" else ours.RawEngine()
    from benchmarks.speed import peers

    makers: dict[str, type[Side]] = {
        "llama-index": peers.StockLlamaIndex,
        "lancedb": peers.LanceDb,
        "txtai": peers.TxtAi,
    }
    if name not in makers:
        raise ValueError(f"no side {name!r}; known: {', '.join(SIDES)}")
    return makers[name]()
