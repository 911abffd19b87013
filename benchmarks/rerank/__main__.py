"""Pairs per second of rerankers on a CPU: FlagEmbedding, sentence-transformers and Winnow.

::

    python -m benchmarks.rerank [--model FOLDER | --shape minilm|xlm-r] [--data PATH [--qrels FILE]]
        [--candidates 50] [--judged 40] [--queries 10] [--bulk 2000] [--rounds 3] [--threads 0] [--json FILE]
    python -m benchmarks.rerank --frontier PLOT.png --small FOLDER --model FOLDER [--data PATH [--qrels FILE]]

All sides score the same pairs with the same weights in one process, in turn;
a ratio is the median over rounds of the two sides' times in the same round,
with its 95% bootstrap interval.  Two shapes of work: one query's candidates
(a round a query), and bulk, pairs of many queries and mixed lengths together.
Every side has seen all texts once before it is timed.  NDCG@10 is that of the
first ``--judged`` queries, which is more than are timed: ten say little of a ranking.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import tempfile
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.provenance import provenance
from benchmarks.rerank import frontier
from benchmarks.rerank.checkpoints import build_checkpoint
from benchmarks.rerank.measuring import agreement, quality, rows, run_rounds
from benchmarks.rerank.sides import FLAG, REFERENCE, Score, open_sides
from benchmarks.rerank.workload import BUNDLED, Pool, bulk_lists, read_pools
from indexing.encoders.manifest import INT8_MODEL, sha256_of
from indexing.encoders.runtime import available_cores
from indexing.errors import InputError, SettingsError, WinnowError

_PACKAGES = ("FlagEmbedding", "sentence-transformers", "transformers", "torch", "onnxruntime", "tokenizers")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit status."""
    args = _parser().parse_args(arguments)
    logging.basicConfig(level="INFO", format="%(message)s", stream=sys.stderr)
    try:
        pools, checksum = read_pools(args.data, candidates=args.candidates, seed=args.seed, qrels=args.qrels)
        result = _frontier(args, pools) if args.frontier else _compare(args, pools)
    except WinnowError as error:
        sys.stderr.write(f"winnow: {error}\n")
        return 2
    packages = {name: _version(name) for name in _PACKAGES}
    about = {**provenance(), "peers": packages, "data": args.data.name, "data_sha256": checksum}
    about |= {"seed": args.seed, "threads": args.threads or available_cores(), "load": os.getloadavg()}
    if args.json:
        args.json.write_text(json.dumps({**result, "about": about}, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(_text(result) + "\n" + json.dumps(about) + "\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.rerank",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", type=Path, help="cross-encoder folder with safetensors weights")
    parser.add_argument(
        "--shape", choices=("minilm", "xlm-r"), default="minilm", help="made where no --model is"
    )
    parser.add_argument("--data", type=Path, default=BUNDLED, help="BEIR folder, candidates or graded file")
    parser.add_argument("--qrels", type=Path, help="TREC judgements of a file of candidates")
    parser.add_argument("--candidates", type=int, default=50)
    parser.add_argument("--queries", type=int, default=10, help="queries timed")
    parser.add_argument("--judged", type=int, default=40, help="queries of NDCG@10, those timed among them")
    parser.add_argument("--bulk", type=int, default=2000, help="pairs of a bulk round; 0: none")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0, help="0: every core")
    parser.add_argument("--max-tokens", type=int, default=512, help="of a pair; at most what the model reads")
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--json", type=Path, help="write figures and provenance there")
    parser.add_argument("--frontier", type=Path, help="draw the cascade's frontier there instead")
    parser.add_argument("--small", type=Path, help="folder of the cascade's first model")
    runtimes, precisions = ("auto", "openvino", "onnxruntime"), ("auto", "fp32", "bf16", "int8")
    parser.add_argument("--runtime", choices=runtimes, default="auto", help="of the cascade's models")
    parser.add_argument("--precision", choices=precisions, default="auto", help="of the cascade's models")
    return parser


def _compare(args: argparse.Namespace, all_pools: Sequence[Pool]) -> dict[str, Any]:
    from retrieval.export import export

    pools = all_pools[: args.queries]
    threads = args.threads or available_cores()
    with tempfile.TemporaryDirectory() as scratch:
        texts = [text for pool in pools for text in (pool.query, *pool.texts.values())]
        model = args.model or build_checkpoint(args.shape, Path(scratch) / args.shape, texts)
        exported = Path(scratch) / "exported"
        # Every side cuts a pair where the model's own tokenizer does: else they score different texts.
        longest = export(model, exported, max_tokens=args.max_tokens).max_tokens
        _with_int8(exported)
        sides = open_sides(model, exported, threads=threads, max_tokens=longest)
        result: dict[str, Any] = {
            "model": Path(model).name,
            "max_tokens": longest,
            "quality": _quality(sides, all_pools, args),
        }
        single = [[pool.pair] for pool in pools]
        timed = run_rounds(sides, single, rounds=args.rounds)
        base = FLAG if FLAG in sides else REFERENCE
        pairs = [len(pool.texts) for pool in pools] * args.rounds
        result["one query"] = rows(timed, base, pairs, args.seed)
        if args.bulk:
            timed = run_rounds(sides, [bulk_lists(all_pools, args.bulk)], rounds=args.rounds)
            result["bulk"] = rows(timed, base, [args.bulk] * args.rounds, args.seed)
    return result


def _with_int8(folder: Path) -> None:
    from indexing.encoders.graph import write_int8
    from retrieval.exported_manifest import RerankerManifest
    from retrieval.rerank import MANIFEST

    write_int8(folder)
    manifest = RerankerManifest.model_validate_json((folder / MANIFEST).read_bytes())
    files = {**manifest.files, INT8_MODEL: sha256_of(folder / INT8_MODEL)}
    changed = manifest.model_copy(update={"files": files})
    (folder / MANIFEST).write_text(changed.model_dump_json(), encoding="utf-8")


def _quality(
    sides: dict[str, Score], pools: Sequence[Pool], args: argparse.Namespace
) -> list[dict[str, Any]]:
    """NDCG@10 of each side, its change and interval against fp32, and agreement; also the warm-up."""
    judged = pools[: max(args.judged, args.queries)]
    lists = [pool.pair for pool in judged]
    logits = {name: score(lists) for name, score in sides.items()}
    reference = REFERENCE if REFERENCE in sides else next(iter(sides))
    return [
        {
            "side": name,
            **quality(judged, values, logits[reference], args.seed),
            **agreement(values, logits[reference]),
        }
        for name, values in logits.items()
    ]


def _frontier(args: argparse.Namespace, pools: Sequence[Pool]) -> dict[str, Any]:
    from indexing.settings import RerankSettings
    from retrieval.rerank import load_folder

    if args.model is None or args.small is None:
        raise SettingsError("a frontier needs two models: --small FOLDER --model FOLDER")
    judged = [pool for pool in pools if pool.grades and any(grade > 0 for grade in pool.grades.values())]
    if not judged:
        raise InputError(f"a frontier needs judged data; {args.data} has no grades (--qrels FILE)")
    settings = RerankSettings.model_validate(
        {name: getattr(args, name) for name in ("threads", "max_tokens", "runtime", "precision")}
    )
    small, large = load_folder(args.small, settings), load_folder(args.model, settings)
    found = frontier.sweep(small, large, judged[: args.judged], rounds=args.rounds)
    frontier.plot(found, args.frontier)
    return {"small": small.name, "large": large.name, "frontier": found}


def _text(result: dict[str, Any]) -> str:
    lines = []
    for title, table in result.items():
        if not isinstance(table, list):
            lines.append(f"{title}: {table}")
            continue
        heads = list(table[0])
        lines += ["", f"## {title}", "", "| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
        lines += ["| " + " | ".join(_cell(row[head]) for head in heads) + " |" for row in table]
    return "\n".join(lines)


def _cell(value: object) -> str:
    if isinstance(value, list):
        return " to ".join(f"{one:.3g}" for one in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


if __name__ == "__main__":
    sys.exit(main())
