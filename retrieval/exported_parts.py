"""What the exported kinds share: the tokenizer, and the choice of engine and precision."""

from __future__ import annotations

import logging
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from indexing.encoders.manifest import MODEL
from indexing.encoders.runtime import Runtime, open_runtime
from indexing.errors import EncoderError
from indexing.settings import RerankSettings
from retrieval.exported_manifest import RerankerManifest

if TYPE_CHECKING:
    from tokenizers import Tokenizer

log = logging.getLogger(__name__)


def open_tokenizer(path: Path) -> Tokenizer:
    """Return the tokenizer of ``path``, without truncation and padding.

    Raises:
        EncoderError: the file is none.
    """
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the package raises bare Exception
        raise EncoderError(f"{path} is not a tokenizer file: {error}") from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


# Batches computed side by side: threads that share one batch wait for each other
# after every layer.  Beyond four, one query's candidates make batches too small.
MOST_STREAMS = 4


def open_graph(
    folder: Path, manifest: RerankerManifest, settings: RerankSettings, *, streams: int = 1
) -> Runtime:
    """Return the graph on the engine that the settings name.

    Where they leave it open ("auto"), it is the fastest variant that passed
    the export's gate and runs on this machine, else fp32; a folder whose
    variants were never measured gets what encoders get (bf16 where the CPU has it).

    Raises:
        EncoderError: the graph does not load.
        MissingDependencyError: no engine is installed, or not the one asked for.
    """
    graph = folder / MODEL
    if settings.precision == "auto" and manifest.variants:
        for variant in manifest.variants:
            wanted = settings.runtime in ("auto", variant.runtime)
            if not (variant.kept and wanted and find_spec(variant.runtime)):
                continue
            try:
                return open_runtime(
                    graph,
                    runtime=variant.runtime,
                    precision=variant.precision,
                    threads=settings.threads,
                    streams=streams,
                )
            except EncoderError as error:
                log.info("%s does not run here as %s: %s", manifest.name, variant.precision, error)
        return open_runtime(
            graph, runtime=settings.runtime, precision="fp32", threads=settings.threads, streams=streams
        )
    return open_runtime(
        graph,
        runtime=settings.runtime,
        precision=settings.precision,
        threads=settings.threads,
        streams=streams,
    )


class OnEngine:
    """What a graph on ``runtime`` says of itself; ``folder`` is where its model lies."""

    def __init__(self, runtime: Runtime, folder: Path) -> None:
        self._runtime = runtime
        self._name = f"{runtime.name}:{folder.name}"

    @property
    def name(self) -> str:
        return self._name

    @property
    def engine(self) -> str:
        """Runtime and precision in use: "openvino bf16"."""
        return f"{self._runtime.name} {self._runtime.precision}"
