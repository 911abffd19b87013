"""``python -m retrieval``: what it prints, what it refuses, how it ends."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from indexing.errors import FilterError
from indexing.ingest import TextItem, add_texts
from indexing.records import Embedding, Extraction
from indexing.session import Index
from indexing.settings import RerankSettings, Settings, load_settings
from retrieval.cli import app
from retrieval.filter_arguments import parse_filter_arguments
from retrieval.search import Searcher
from tests.fakes.corpus import FakeCatalog, FakeCollection, FakeDocument, WordEncoders

DOCUMENTS = [
    FakeDocument(
        "default",
        "report",
        "Revenue grew. Cash flow was strong. Debt stayed flat.",
        title="Annual report",
        sources=("a.txt", "b.txt"),
        metadata={"year": 2021},
    ),
    FakeDocument("default", "zh", "燕子在屋檐下筑巢。公司现金很多。"),
    FakeDocument("default", "odd", "An escape\x1b[31m hides here."),
    FakeDocument("other", "secret", "Somebody else has cash."),
]


@pytest.fixture
def searched(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """The command over the corpus in memory; the list collects the settings it opened."""
    opened: list[Settings] = []
    encoders = WordEncoders()

    async def embed(query: str) -> Embedding:
        return encoders.embed_queries([query])[0]

    async def open_searcher(settings: Settings) -> Searcher:
        opened.append(settings)
        return Searcher(
            FakeCollection(DOCUMENTS, encoders),
            FakeCatalog(DOCUMENTS),
            embed,
            retrieval=settings.retrieval,
            reranking=RerankSettings(),
            coverage=encoders.coverage,
        )

    monkeypatch.setattr("retrieval.opening.open_searcher", open_searcher)
    return opened


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "120", "NO_COLOR": "1"})


def test_passages_are_printed_with_the_match_marked(searched):
    result = run("cash flow", "--top-n", "1")
    assert result.exit_code == 0, result.output
    assert "1. Annual report" in result.stdout
    assert "a.txt · report 14-35 · and 1 more source" in result.stdout
    assert "Revenue grew. **Cash flow was strong.** Debt stayed flat." in " ".join(result.stdout.split())


def test_chinese_is_found_and_marked(searched):
    result = run("现金", "--top-n", "1")
    assert result.exit_code == 0
    assert "燕子在屋檐下筑巢。**公司现金很多。**" in result.stdout


def test_json_has_the_contract_of_the_service(searched):
    body = json.loads(run("cash flow", "--json", "--top-n", "2").stdout)
    contract = "id doc_id source title section page text window start end score ranks"
    assert set(body["results"][0]) >= set(contract.split())
    assert set(body["results"][0]["ranks"]) == {"dense", "sparse", "fused", "rerank"}
    assert body["results"][0]["text"] == "Cash flow was strong."
    names = [stage["name"] for stage in body["receipt"]["stages"]]
    assert names == ["embed", "retrieve", "fuse", "windows", "rerank"]
    assert body["receipt"]["degraded"] == []


def test_explain_shows_ranks_scores_and_stages(searched):
    printed = run("cash flow", "--explain", "--top-n", "1").stdout
    assert "1 (2.00)" in printed  # two words in common
    for word in ("dense", "sparse", "fused", "rerank", "engine_ms", "the dense encoder knows 1.00 of"):
        assert word in printed


def test_answer_quotes_and_cites(searched):
    printed = run("cash flow", "--answer", "--top-n", "1").stdout
    assert printed.startswith("Cash flow was strong. [1]")
    assert "[1] a.txt, 14-35" in printed
    assert "word for word" in printed


def test_filters_tenant_and_mode_are_passed_on(searched):
    assert json.loads(run("cash", "--json", "--tenant", "other").stdout)["results"][0]["doc_id"] == "secret"
    found = json.loads(run("cash", "--json", "--filter", "year=2021", "--mode", "sparse").stdout)
    assert {one["doc_id"] for one in found["results"]} == {"report"}
    assert found["receipt"]["stages"][1]["mode"] == "sparse"


def test_nothing_found_is_exit_one(searched):
    result = run("zebra", "--mode", "sparse")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "nothing found" in result.stderr
    empty = run("zebra", "--mode", "sparse", "--json")
    assert empty.exit_code == 1
    assert json.loads(empty.stdout)["results"] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("  ",), "the query is empty"),
        (("cash", "--top-n", "0"), "top_n is 0"),
        (("cash", "--filter", "nonsense"), "write key=value"),
        (("cash", "--filter", "tenant=other"), "tenant"),
        (("cash", "--mode", "vector"), "vector"),
    ],
)
def test_refusals_are_exit_two_and_open_nothing(searched, arguments, message):
    result = run(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert searched == []


def test_a_home_without_an_index_names_the_command(tmp_path):
    result = run("cash", "--home", str(tmp_path / "none"))
    assert result.exit_code == 2
    assert "python -m indexing" in result.stderr


def test_home_wins_over_the_environment(searched, tmp_path, monkeypatch):
    monkeypatch.setenv("WINNOW_HOME", str(tmp_path / "environment"))
    run("cash", "--home", str(tmp_path / "argument"))
    assert searched[0].home == tmp_path / "argument"


def test_text_cannot_steer_the_terminal(searched):
    result = run("escape hides", "--top-n", "1", "--explain")
    assert "\x1b" not in result.stdout
    assert "An escape\ufffd[31m hides here." in result.stdout


def test_help_imports_nothing_heavy():
    code = (
        "import sys\nfrom retrieval.cli import main\nsys.argv = ['retrieval', '--help']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'numpy', 'pydantic', 'sqlalchemy', 'llama_index', 'qdrant_client', 'torch', 'openvino'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert "--filter" in done.stdout
    assert done.stderr.strip() == "[]"


def test_a_real_index_from_end_to_end(tmp_path):
    settings = load_settings(home=tmp_path / "home", collection={"idle_exit_s": 0})
    with Index.open(settings) as index:
        texts = {"swallows": "Swallows nest under roofs. They return in spring.", "cash": "Cash is king."}
        items = [TextItem(f"mem:{key}", Extraction(text, doc_id=key), "") for key, text in texts.items()]
        assert add_texts(index, items).documents == 2
    result = run("When do the birds come back?", "--home", str(settings.home), "--json", "--top-n", "1")
    assert result.exit_code == 0, result.output
    (best,) = json.loads(result.stdout)["results"]
    assert best["doc_id"] == "swallows"
    assert best["window"] == texts["swallows"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], None),
        (["section=Annual report > Income"], {"section": ["Annual report > Income"]}),
        (["section=A", "section=B"], {"section": ["A", "B"]}),
        (["page=3"], {"page": [3]}),
        (["year=2021"], {"year": ["2021", 2021]}),
        (["rate=0.5"], {"rate": ["0.5", 0.5]}),
        (["draft=true"], {"draft": ["true", True]}),
        (["doc_id=42"], {"doc_id": ["42"]}),
        (["page>=3", "page<9"], {"page": {"gte": 3.0, "lt": 9.0}}),
        (["page > 3", "page <= 9"], {"page": {"gt": 3.0, "lte": 9.0}}),
        (["year!=2019", "year!=x"], {"year": {"not": ["2019", 2019, "x"]}}),
        (["section^=Annual"], {"section": {"prefix": "Annual"}}),
        (["source=a=b>c"], {"source": ["a=b>c"]}),
    ],
)
def test_filter_arguments(arguments, expected):
    assert parse_filter_arguments(arguments) == expected


@pytest.mark.parametrize(
    "arguments", [["x"], ["=3"], ["x="], ["page>three"], ["page=3", "page>1"], ["p>1", "p>2"]]
)
def test_filter_arguments_that_make_no_sense(arguments):
    with pytest.raises(FilterError):
        parse_filter_arguments(arguments)
