"""``python -m benchmarks.label_budget --labels FILE``: does a label budget beat random choice?

Of the passages that a teacher graded in full (``graded`` layout), the first 50
by cosine + BM25 stand in for a query's candidates; each strategy buys a share
of their grades, a cheap student learns from what was bought, and its NDCG@10
over all passages of the other queries, by human judgement, is compared with
the same student on as many randomly chosen pairs.

The student is a frozen bi-encoder reweighed: ``sum_i w_i q_i d_i + v . x``
with ``x`` the cosine, the BM25 score, the length and the share of query words;
RankNet loss; L2 towards what it starts from, either nothing (all weights 0:
what it knows, it learnt from the labels) or the cosine and a little BM25.
Queries are cut into train and dev anew for every seed.  A query's score is its
mean over the seeds in which it was dev, and the test is a paired randomisation
over queries.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
import typer

from benchmarks.provenance import provenance
from distill.labelling.budget import STRATEGIES, Strategy, spend
from distill.layouts import read_labels
from distill.mining.rows import MinedList
from distill.queries.text import words
from distill.records import CandidateList, LabelledList
from indexing.errors import InputError, WinnowError
from retrieval.metrics import evaluate
from retrieval.significance import bootstrap_interval, randomisation_test

Floats = npt.NDArray[np.float64]
MEASURE = "NDCG@10"
Start = Literal["nothing", "cosine"]
# Chosen for the student that gets every label, by the mean over dev queries: neutral between strategies.
_L2: dict[Start, float] = {"nothing": 0.1, "cosine": 1000.0}
_PRIOR_BM25 = 0.3

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@dataclass(frozen=True, slots=True)
class Pool:
    """One query's passages: features ``(n, f)``, teacher's grades, the truth.

    ``mined`` has the candidates among them; its ranks are places in the others, from 1.
    """

    query_id: str
    doc_ids: tuple[str, ...]
    features: Floats
    grades: Floats
    truth: dict[str, int]
    mined: MinedList


def load_pools(path: Path, teacher: str, candidates: int, cache: Path | None) -> list[Pool]:
    """Return the pools of the queries that ``teacher`` graded.

    Raises:
        InputError: the file has no grades of that teacher.
    """
    lists = [one for one in read_labels(path, "graded") if one.teacher == teacher]
    if not lists:
        known = sorted({one.teacher for one in read_labels(path, "graded")})
        raise InputError(f"{path} has no grades of {teacher!r}; it has: {', '.join(known)}")
    texts = [passage.text for one in lists for passage in one.passages]
    queries = [one.query.text for one in lists]
    dense = _embed(queries + texts, cache)
    sparse = _bm25(queries, texts)
    pools, start = [], 0
    for number, one in enumerate(lists):
        stop = start + len(one.passages)
        rows = dense[len(queries) + start : len(queries) + stop]
        pools.append(_pool(one, dense[number], rows, sparse[number][start:stop], candidates))
        start = stop
    return pools


def _pool(one: LabelledList, query: Floats, rows: Floats, bm25: Floats, candidates: int) -> Pool:
    asked = set(words(one.query.text))
    found = [set(words(passage.text)) for passage in one.passages]
    overlap = np.asarray([len(asked & held) / max(1, len(asked)) for held in found])
    length = np.log([1 + len(passage.text) for passage in one.passages])
    cosine = rows @ query
    fused = _z(cosine) + _z(bm25)
    others = np.stack([_z(cosine), _z(bm25), _z(length), _z(overlap)], axis=1)
    # The mean product over the query's passages cancels in every pair: only differences are learnt.
    features = np.concatenate([rows * query / max(float(cosine.std()), 1e-9), others], axis=1)
    student = _z(cosine) + _PRIOR_BM25 * _z(bm25)
    mined = MinedList(
        CandidateList(one.query, one.passages),
        {
            "score": tuple(fused),
            "dense": tuple(cosine),
            "sparse": tuple(bm25),
            "student": tuple(student),
        },
        tuple(range(1, len(one.passages) + 1)),
    )
    truth = {
        passage.doc_id: int(grade or 0) for passage, grade in zip(one.passages, one.human or (), strict=True)
    }
    first = np.argsort(-fused, kind="stable")[:candidates].tolist()
    doc_ids = tuple(passage.doc_id for passage in one.passages)
    return Pool(one.query.query_id, doc_ids, features, np.asarray(one.scores), truth, mined.keep(first))


def _embed(texts: Sequence[str], cache: Path | None) -> Floats:
    """The shipped encoder's unit vectors; kept in ``cache`` since they take most of the time."""
    if cache is not None and cache.exists():
        with np.load(cache) as saved:
            if int(saved["texts"]) == len(texts):
                return np.asarray(saved["vectors"], dtype=np.float64)
    from indexing.encoders import load_encoders
    from indexing.settings import EncoderSettings

    encoders = load_encoders(EncoderSettings(), average_length=100.0)
    found = []
    for start in range(0, len(texts), 512):
        for embedding in encoders.embed_documents(texts[start : start + 512]):
            found.append(np.zeros(encoders.dimensions) if embedding.dense is None else embedding.dense)
        typer.echo(f"{min(start + 512, len(texts))} of {len(texts)} texts", err=True)
    vectors = np.asarray(found, dtype=np.float64)
    if cache is not None:
        np.savez(cache, vectors=vectors.astype(np.float32), texts=len(texts))
    return vectors


def _bm25(queries: Sequence[str], texts: Sequence[str]) -> list[Floats]:
    import bm25s

    logging.getLogger("bm25s").setLevel(logging.WARNING)  # it sets its own to DEBUG when imported
    index = bm25s.BM25(k1=1.2, b=0.75)
    index.index([words(text) for text in texts], show_progress=False)
    return [np.asarray(index.get_scores(words(query)), dtype=np.float64) for query in queries]


def _z(values: npt.ArrayLike) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    spread = float(array.std())
    return np.asarray((array - array.mean()) / (spread if spread > 0 else 1.0), dtype=np.float64)


def starting(dimensions: int, start: Start) -> Floats:
    """Return the student's weights before any label."""
    weights = np.zeros(dimensions)
    if start == "cosine":
        weights[-4:-2] = (1.0, _PRIOR_BM25)
    return weights


def train(bought: Sequence[tuple[Floats, Floats]], start: Start) -> Floats:
    """Return the weights that rank ``(features, grades)`` lists best: RankNet, L2 to the start.

    Source: Burges et al., "Learning to rank using gradient descent", ICML 2005.
    """
    from scipy.optimize import minimize

    l2, origin = _L2[start], starting(bought[0][0].shape[1], start)
    lists = [(x, grades[:, None] - grades[None, :]) for x, grades in bought]
    lists = [(x, gaps) for x, gaps in lists if (gaps > 0).any()]

    def loss(weights: Floats) -> tuple[float, Floats]:
        total, gradient = 0.0, np.zeros_like(weights)
        for x, gaps in lists:
            scores = x @ weights
            margins = scores[:, None] - scores[None, :]
            better = gaps > 0
            count = int(better.sum())
            total += float(np.logaddexp(0, -margins)[better].sum()) / count
            push = np.where(better, -1 / (1 + np.exp(np.clip(margins, -50, 50))), 0.0) / count
            gradient += x.T @ (push.sum(axis=1) - push.sum(axis=0))
        off = weights - origin
        scale = max(1, len(lists))
        return total / scale + l2 * float(off @ off) / len(off), gradient / scale + 2 * l2 * off / len(off)

    found = minimize(loss, origin, jac=True, method="L-BFGS-B", options={"maxiter": 100})
    return np.asarray(found.x, dtype=np.float64)


def bought_lists(
    pools: Sequence[Pool], budget: int, strategy: Strategy, seed: int
) -> list[tuple[Floats, Floats]]:
    """Return features and grades of the pairs that a strategy buys."""
    by_id = {pool.query_id: pool for pool in pools}
    bought = []
    for chosen in spend([pool.mined for pool in pools], budget, strategy, seed=seed):
        pool = by_id[chosen.candidates.query.query_id]
        places = [rank - 1 for rank in chosen.ranks]
        bought.append((pool.features[places], pool.grades[places]))
    return bought


def dev_scores(pools: Sequence[Pool], weights: Floats) -> dict[str, float]:
    """Return NDCG@10 by human judgement of each query."""
    run = {
        pool.query_id: dict(zip(pool.doc_ids, map(float, pool.features @ weights), strict=True))
        for pool in pools
    }
    qrels = {pool.query_id: pool.truth for pool in pools}
    return dict(evaluate(run, qrels, [MEASURE]).per_query[MEASURE])


def measure(
    pools: Sequence[Pool], shares: Sequence[float], seeds: int, start: Start
) -> dict[str, dict[str, list[float]]]:
    """Return row -> query -> NDCG@10 in every seed in which the query was dev.

    Rows are ``bi-encoder`` (no label), ``all`` (every candidate's label) and ``STRATEGY@SHARE``.
    """
    rows: dict[str, dict[str, list[float]]] = {}

    def add(name: str, dev: Sequence[Pool], weights: Floats) -> None:
        for query_id, score in dev_scores(dev, weights).items():
            rows.setdefault(name, {}).setdefault(query_id, []).append(score)

    for seed in range(seeds):
        order = np.random.default_rng(seed).permutation(len(pools))
        cut = len(pools) * 2 // 3
        learn, dev = [pools[i] for i in order[:cut]], [pools[i] for i in order[cut:]]
        total = sum(len(pool.mined.ranks) for pool in learn)
        add("bi-encoder", dev, starting(learn[0].features.shape[1], "cosine"))
        add("all", dev, train(bought_lists(learn, total, "top", seed), start))
        for share in shares:
            for strategy in STRATEGIES:
                bought = bought_lists(learn, round(share * total), strategy, seed)
                add(f"{strategy}@{share:g}", dev, train(bought, start))
        typer.echo(f"seed {seed + 1} of {seeds}", err=True)
    return rows


def summary(rows: dict[str, dict[str, list[float]]], seed: int) -> list[dict[str, object]]:
    """Return each row's mean, and its difference from random choice of the same size."""
    means = {
        name: {query: float(np.mean(found)) for query, found in row.items()} for name, row in rows.items()
    }
    table = []
    for name, row in means.items():
        line: dict[str, object] = {"row": name, "ndcg@10": round(float(np.mean(list(row.values()))), 4)}
        strategy, _, share = name.partition("@")
        if share and strategy != "random":
            other = means[f"random@{share}"]
            gaps = [row[query] - other[query] for query in sorted(row)]
            low, high = bootstrap_interval(gaps, seed)
            p = randomisation_test(
                [row[query] for query in sorted(row)], [other[query] for query in sorted(row)], seed
            )
            line |= {"against_random": round(float(np.mean(gaps)), 4), "p": round(p, 4)}
            line["interval_95"] = [round(low, 4), round(high, 4)]
        table.append(line)
    return table


@app.command()
def main(
    labels: Annotated[Path, typer.Option(help="File of the graded layout.")],
    teacher: Annotated[str, typer.Option(help="Whose grades are bought.")] = "gpt4o_umbrela",
    shares: Annotated[str, typer.Option(help="Budgets, as shares of all pairs.")] = "0.1,0.2,0.4",
    candidates: Annotated[int, typer.Option(min=10, help="Passages of a query that may be bought.")] = 50,
    start: Annotated[Start, typer.Option(help="What the student knows before.")] = "nothing",
    seeds: Annotated[int, typer.Option(min=1, help="Splits into train and dev.")] = 10,
    cache: Annotated[Path | None, typer.Option(help="Keep the vectors here (.npz).")] = None,
    output: Annotated[Path | None, typer.Option(help="Write the result as JSON.")] = None,
) -> None:
    """Compare label budgets with random choice on queries that were held back."""
    logging.basicConfig(level="WARNING", stream=sys.stderr)
    try:
        pools = load_pools(labels, teacher, candidates, cache)
    except WinnowError as error:
        typer.echo(f"winnow: {error}", err=True)
        raise typer.Exit(2) from error
    rows = measure(pools, [float(share) for share in shares.split(",")], seeds, start)
    table = summary(rows, seed=0)
    for line in table:
        sys.stdout.write(json.dumps(line) + "\n")
    if output is not None:
        body = {
            **provenance(),
            "teacher": teacher,
            "queries": len(pools),
            "pairs": sum(len(pool.grades) for pool in pools),
            "candidates": candidates,
            "start": start,
            "seeds": seeds,
            "rows": table,
            "per_query": rows,
        }
        output.write_text(json.dumps(body, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    app(prog_name="python -m benchmarks.label_budget")
