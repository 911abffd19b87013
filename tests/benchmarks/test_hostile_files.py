"""Every hostile file ends as it should: an error of its kind, or clean text; the service lives on.

The heavy ones, which keep a parser busy until a limit ends it, are left to
``python -m benchmarks.hostile_files``; the limits have tests of their own in
``tests/indexing/test_parser_limits.py``.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from benchmarks.hostile_files.__main__ import report, run
from benchmarks.hostile_files.corpus import corpus
from benchmarks.hostile_files.record import (
    CANARIES,
    CLEAN,
    CPU_S,
    MAX_FILE_MB,
    MEMORY_MB,
    SECRET,
    TIMEOUT_S,
    HostileFile,
)
from indexing.errors import ReadError, kind_of
from indexing.ingest.pool import ReaderPool, ReadJob
from indexing.settings import IndexingSettings

LIMITS = IndexingSettings(
    read_workers=2,
    max_file_mb=MAX_FILE_MB,
    parser_memory_mb=MEMORY_MB,
    parser_cpu_s=CPU_S,
    read_timeout_s=4 * TIMEOUT_S,
)


def test_the_corpus_is_large_and_every_format_is_in_it() -> None:
    files = corpus()
    formats = Counter(one.format for one in files)
    assert len(files) >= 150
    assert {"pdf", "docx", "pptx", "xlsx", "epub", "html", "eml", "md", "rst", "tex", "txt", "py"} <= set(
        formats
    )
    assert {"csv", "json", "jsonl", "gz"} <= set(formats)
    assert sum(one.expect != CLEAN for one in files) >= 150
    assert len({one.attack for one in files if one.expect == CLEAN}) >= 60


def test_every_light_file_ends_as_expected(tmp_path: Path) -> None:
    files = [one for one in corpus() if not one.heavy]
    jobs = []
    for one in files:
        path = one.write(tmp_path)
        jobs.append(ReadJob(one.name, path, "0" * 64, path.stat().st_size, one.name))
    found: dict[str, str] = {}
    with ReaderPool(LIMITS, ("indexing.readers", "read_file")) as pool:
        for job, documents in pool.read(jobs):
            try:
                texts = [block.text for document in documents for block in document.blocks]
                found[job.uri] = CLEAN if not any(SECRET in text for text in texts) else "leaked"
            except ReadError as error:
                found[job.uri] = kind_of(error)
    wrong = {
        one.name: (one.attack, one.expect, found[one.name]) for one in files if found[one.name] != one.expect
    }
    assert wrong == {}
    assert not [path for path in CANARIES if path.exists()]


def test_the_service_lives_through_hostile_uploads() -> None:
    """One file of every format and one of every outcome, uploaded to a real service."""
    chosen: dict[str, HostileFile] = {}
    for one in corpus():
        if not one.heavy and "bomb" not in one.name and "large" not in one.name:
            chosen.setdefault(one.format, one)
            chosen.setdefault(one.expect, one)
    bombs = [one for one in corpus() if one.name in ("bomb.docx", "bomb.txt.gz", "slip.epub", "xxe.xlsx")]
    files = list({one.name: one for one in [*chosen.values(), *bombs]}.values())
    result = run(files, patience_s=300.0)
    assert result["wrong"] == {}, report(files, result)
    assert result["harm"] == []
    assert result["health"]["failures"] == []
    assert result["health"]["asked"] >= 10
