"""How long a text is for the model: its tokenizer file, its server, or a bound."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx

from indexing.errors import GarbledAnswerError, GenerationUnavailableError, SettingsError
from retrieval.generation.protocol import TokenCounts

log = logging.getLogger(__name__)

_AT_ONCE = 8


class TokenCounter:
    """Counts by a ``tokenizer.json``, else by the server's ``/tokenize``, else by UTF-8 bytes.

    A byte-level vocabulary never needs more tokens than bytes, so the last
    resort is an upper bound: a prompt packed by it fits, with room unused.
    """

    def __init__(self, client: httpx.AsyncClient, path: str | None) -> None:
        self._client = client
        self._tokenizer = None if path is None else _load(Path(path).expanduser())
        self._server_counts = True

    async def count(self, texts: Sequence[str], url: str, model: str) -> TokenCounts:
        """Return the tokens of each text without special tokens."""
        if self._tokenizer is not None:
            encoded = await asyncio.to_thread(
                self._tokenizer.encode_batch, list(texts), add_special_tokens=False
            )
            return TokenCounts(tuple(len(one.ids) for one in encoded), exact=True)
        if self._server_counts:
            counts = await self._ask(texts, url, model)
            if counts is not None:
                return TokenCounts(counts, exact=True)
            self._server_counts = False
            log.warning("%s counts no tokens; prompts are packed by bytes: set generation.tokenizer", url)
        return TokenCounts(tuple(len(text.encode()) for text in texts), exact=False)

    async def _ask(self, texts: Sequence[str], url: str, model: str) -> tuple[int, ...] | None:
        gate = asyncio.Semaphore(_AT_ONCE)

        async def one(text: str) -> int | None:
            body = {"model": model, "prompt": text, "add_special_tokens": False}
            async with gate:
                try:
                    answer = await self._client.post(f"{url}/tokenize", json=body)
                except httpx.HTTPError as error:
                    raise GenerationUnavailableError(f"{url} does not count tokens: {error!r}") from error
            if answer.status_code in (404, 405, 501):
                return None
            if answer.status_code != httpx.codes.OK:
                raise GenerationUnavailableError(f"{url}/tokenize answered {answer.status_code}")
            try:
                count = answer.json()["count"]
            except (ValueError, KeyError, TypeError) as error:
                raise GarbledAnswerError(f"{url}/tokenize sent no count") from error
            if not isinstance(count, int) or count < 0:
                raise GarbledAnswerError(f"{url}/tokenize sent count {count!r}")
            return count

        tasks = [asyncio.ensure_future(one(text)) for text in texts]
        try:
            found = await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
        counts = tuple(count for count in found if count is not None)
        return counts if len(counts) == len(found) else None


def _load(path: Path) -> Any:
    from tokenizers import Tokenizer

    if path.is_dir():
        path = path / "tokenizer.json"
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the package raises bare Exception
        raise SettingsError(f"generation.tokenizer names {str(path)!r}: {error}") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
