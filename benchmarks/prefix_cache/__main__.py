"""What a prefix cache is worth: hit rate, time to the first token and throughput, by layout.

::

    python -m benchmarks.prefix_cache.model MODEL                  # a Qwen3 of random weights
    python -m benchmarks.prefix_cache --model MODEL --environment ENV     # starts two servers
    python -m benchmarks.prefix_cache --model MODEL --url CACHING --url-off NOT_CACHING
    python -m benchmarks.prefix_cache --model MODEL --orders       # no server: orders of passages compared

Random weights say nothing about answers; they take as long to read a prompt.
Exit code 1 when a goal is not met.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.prefix_cache.blocks import CPU_BLOCK, GPU_BLOCK, load_tokenizer
from benchmarks.prefix_cache.measure import Bench, rows
from benchmarks.prefix_cache.orders import compare_orders
from benchmarks.prefix_cache.report import agreement, goal_lines, goals, order_table, table
from benchmarks.prefix_cache.servers import ended_by_signals, two_servers
from benchmarks.prefix_cache.streams import STREAMS, UNITS, Ask, make_streams
from benchmarks.provenance import provenance
from retrieval.generation.protocol import TokenCounts

_ENDED = 128 + signal.SIGTERM


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


async def _asks(options: argparse.Namespace, home: Path) -> list[Ask]:
    tokenizer = load_tokenizer(options.model)

    async def count(texts: Sequence[str]) -> TokenCounts:
        found = tokenizer.encode_batch(list(texts), add_special_tokens=False)
        return TokenCounts(tuple(len(one.ids) for one in found), exact=True)

    return await make_streams(
        home,
        count,
        budget=options.context_tokens,
        documents=options.documents,
        streams=options.streams,
        units=options.units,
    )


@contextlib.contextmanager
def _home(options: argparse.Namespace) -> Iterator[Path]:
    """The folder of the index: the given one, or a fresh one with Python's reference."""
    if options.home is not None:
        yield options.home
        return
    import subprocess

    with tempfile.TemporaryDirectory() as folder:
        _say("indexing Python's language reference")
        subprocess.run(
            [sys.executable, "-m", "indexing", "pydoc", "--home", folder],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        yield Path(folder)


@contextlib.asynccontextmanager
async def _servers(options: argparse.Namespace) -> AsyncIterator[tuple[str, str]]:
    """Yield the addresses of the caching and of the other server, started when none are given."""
    if options.url is not None:
        yield options.url, options.url_off
        return
    async with two_servers(options.model, options.environment, _say) as urls:
        yield urls


async def _measured(options: argparse.Namespace, asks: list[Ask], home: Path) -> int:
    tokenizer = load_tokenizer(options.model)
    async with _servers(options) as (on, off):
        bench = Bench(on, off, home, tokenizer, block=options.block, max_tokens=options.max_tokens)
        try:
            await bench.warm_up()
            before = await bench.server_hits()
            await bench.run(asks, _say)
            counted = await bench.server_hits() - before
        finally:
            await bench.aclose()
    found = rows(bench.samples)
    told = sum(one.cached_tokens for one in bench.samples)
    reached = goals(found)
    out = [table(found), "", goal_lines(reached), "", agreement(bench.samples)]
    out.append(f"cached tokens by the answers' usage {told}, by the server's /metrics {counted:.0f}")
    sys.stdout.write("\n".join(out) + "\n")
    if options.json is not None:
        body = {
            "provenance": provenance(),
            "options": _plain(options),
            "rows": [asdict(one) for one in found],
        }
        body["samples"] = [asdict(one) for one in bench.samples]
        options.json.write_text(json.dumps(body, indent=1) + "\n", encoding="utf-8")
    return 0 if all(goal.met for goal in reached) and told == counted else 1


def _ordered(options: argparse.Namespace, asks: list[Ask]) -> int:
    tokenizer = load_tokenizer(options.model)
    found = [
        shared
        for stream in options.streams
        if stream != "conversation"
        for unit in options.units
        for shared in compare_orders(asks, stream, unit, tokenizer, (CPU_BLOCK, GPU_BLOCK))
    ]
    sys.stdout.write(order_table(found) + "\n")
    if options.json is not None:
        body: dict[str, object] = {"provenance": provenance(), "options": _plain(options)}
        body["orders"] = [{**asdict(one), "share": one.share} for one in found]
        options.json.write_text(json.dumps(body, indent=1) + "\n", encoding="utf-8")
    return 0


def _plain(options: argparse.Namespace) -> dict[str, object]:
    return {
        name: str(value) if isinstance(value, Path) else value
        for name, value in sorted(vars(options).items())
    }


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", type=Path, required=True, help="model folder, for its tokenizer")
    parser.add_argument("--environment", type=Path, help="where vLLM is installed; starts the servers")
    parser.add_argument("--url", help="a running server that caches prefixes")
    parser.add_argument("--url-off", help="a running server with --no-enable-prefix-caching")
    parser.add_argument("--orders", action="store_true", help="compare orders of passages, without a server")
    parser.add_argument("--home", type=Path, help="folder in which python -m indexing pydoc has run")
    parser.add_argument("--context-tokens", type=int, default=3000)
    parser.add_argument("--max-tokens", type=int, default=8)
    parser.add_argument("--documents", type=int, default=8)
    parser.add_argument("--block", type=int, default=CPU_BLOCK, help="tokens of a cache block")
    parser.add_argument("--streams", nargs="+", choices=STREAMS, default=list(STREAMS))
    parser.add_argument("--units", nargs="+", choices=UNITS, default=list(UNITS))
    parser.add_argument("--json", type=Path, help="write every sample to this file")
    options = parser.parse_args(arguments)
    if (
        not options.orders
        and options.environment is None
        and (options.url is None or options.url_off is None)
    ):
        parser.error("name --environment, or both --url and --url-off, or --orders")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; 1 when a goal is not met, 143 when a signal ended it."""
    options = _options(arguments)
    with _home(options) as home:
        if options.orders:
            return _ordered(options, asyncio.run(_asks(options, home)))

        async def go() -> int:
            with ended_by_signals():
                return await _measured(options, await _asks(options, home), home)

        try:
            return asyncio.run(go())
        except asyncio.CancelledError:
            _say("ended by a signal; the servers it started are stopped")
            return _ENDED


if __name__ == "__main__":
    sys.exit(main())
