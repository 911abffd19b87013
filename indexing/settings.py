"""Settings: one frozen object with sections.

Precedence: arguments, then ``WINNOW_*`` environment variables (sections joined
by two underscores: ``WINNOW_RETRIEVAL__TOP_K=80``), then the TOML file
(``WINNOW_CONFIG``, else ``winnow.toml`` in the working directory when there is
one), then the defaults below.  Unknown keys are refused.  Only entry points
call :func:`load_settings`; everything else is handed its section.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from indexing.errors import SettingsError
from indexing.fetch.settings import FetchSettings


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CollectionSettings(Section):
    """Where the vectors live."""

    home: Literal["embedded", "memory", "server"] = "embedded"
    name: str = Field("winnow", min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.-]+$")
    url: str = "http://127.0.0.1:6333"
    grpc_port: int = Field(6334, ge=1, le=65535)
    prefer_grpc: bool = True
    api_key: SecretStr | None = None
    timeout_s: float = Field(30.0, gt=0)
    quantization: Literal["none", "scalar", "binary"] = Field(
        "scalar",
        description="scalar: 8 bits a number in memory for the graph, the best hits by the full vectors",
    )
    tokens_format: Literal["8bit", "16bit"] = Field(
        "8bit", description="a number of a stored token vector; see encoders.late_interaction"
    )
    hnsw_m: int = Field(16, ge=4, le=128)
    hnsw_ef_construct: int = Field(
        64, ge=4, le=2000, description="graph quality against the time to build it; the engine's own is 100"
    )
    hnsw_ef: int = Field(80, ge=1, le=4096, description="candidates kept: more are truer and slower")
    acorn_selectivity: float = Field(0.7, ge=0, le=1, description="ACORN up to this share kept; 0: never")
    optimize_after: int = Field(
        20_000, ge=0, description="points not yet in the HNSW graph before it is built; 0: never"
    )
    idle_exit_s: float = Field(10.0, ge=0, description="engine worker exits this long after the last client")
    watch_s: float = Field(
        1.0, ge=0, description="how often the service looks for a switch to another generation; 0: never"
    )


class EncoderSettings(Section):
    """Which models turn text into vectors."""

    dense: str = Field("all-MiniLM-L6-v2", description="shipped name, or a model folder")
    sparse: str = Field("bm25", description="'bm25', or a SPLADE / BGE-M3 model folder")
    runtime: Literal["auto", "openvino", "onnxruntime"] = "auto"
    precision: Literal["auto", "fp32", "bf16", "int8"] = "auto"
    threads: int = Field(0, ge=0, description="0: all cores")
    token_budget: int = Field(4096, ge=256, description="tokens, padding included, per forward pass")
    bm25_k1: float = Field(1.2, gt=0, le=10)
    bm25_b: float = Field(0.75, ge=0, le=1)
    bm25_stem: bool = True
    bm25_question_words: Literal["drop", "keep"] = Field(
        "drop", description="of a query: 'what', 'does', '什么'; documents keep them"
    )
    min_coverage: float = Field(
        0.5, ge=0, le=1, description="share of letters in scripts the dense encoder knows"
    )
    late_interaction: str = Field(
        "",
        description="store token vectors of this reranker: a folder, or 'auto': the one that comes with "
        "Winnow; '': none",
    )


class IndexingSettings(Section):
    """Files to sentences."""

    max_file_mb: float = Field(256.0, gt=0)
    read_timeout_s: float = Field(
        120.0, gt=0, description="longest wait for the parser of one file, and 5 s more for each MB of it"
    )
    read_workers: int = Field(
        2, ge=0, le=16, description="parser processes; 0: read in the main process, without protection"
    )
    parser_memory_mb: int = Field(
        4096, ge=256, description="address space of a parser process; a file that takes more fails"
    )
    parser_cpu_s: float = Field(
        60.0, ge=1, description="processor time that one file may take, and 5 s more for each MB of it"
    )
    parser_files: int = Field(500, ge=1, description="files until a parser process is replaced")
    outside_links: bool = Field(False, description="follow links that lead out of the folders given")
    max_sentence_chars: int = Field(2000, ge=100)
    batch_sentences: int = Field(1024, ge=1)
    workers: int = Field(1, ge=1, le=1024, description="encoder processes; 1: the writer encodes itself")
    ray: str | None = Field(
        None, description="address of a Ray cluster on which the workers run; 'local': Ray on this machine"
    )
    lock_timeout_s: float = Field(600.0, ge=0, description="wait for another process that writes the index")
    unit: Literal["sentence", "document"] = "sentence"


class RetrievalSettings(Section):
    """Defaults of a search; a request may override most of them."""

    mode: Literal["hybrid", "dense", "sparse"] = "hybrid"
    fusion: Literal["rrf", "dbsf", "weighted"] = "weighted"
    rrf_k: int = Field(60, ge=1, le=10_000)
    dense_weight: float = Field(0.5, ge=0, le=1, description="share of the dense side in weighted fusion")
    confidence_power: float = Field(
        2.0,
        ge=0,
        le=10,
        description="weighted fusion trusts the side whose best hit stands out more; 0: both alike",
    )
    top_k: int = Field(50, ge=1, le=1000, description="candidates fetched from each side")
    top_n: int = Field(10, ge=1, le=1000, description="results returned")
    window_size: int = Field(2, ge=0, le=50, description="sentences on each side of a hit")
    per_source_cap: int = Field(
        0, ge=0, le=1000, description="passages of one source before those of the others; 0: any number"
    )
    source_field: str | None = Field(
        None, description="metadata field that says who a document is from; None: its site or its file"
    )
    max_query_chars: int = Field(8000, ge=1)


class CascadeSettings(Section):
    """A small reranker before ``rerank.model``; off when no folder is named."""

    model: Path | None = Field(None, description="folder of the small reranker, which reads every candidate")
    keep: int = Field(20, ge=2, description="of its best, how many may go on to rerank.model")
    margin: float = Field(
        float("inf"), ge=0, description="in its logits: further from both neighbours, a candidate is sure"
    )


class RerankSettings(Section):
    """The second stage."""

    model: str = Field(
        "auto",
        min_length=1,
        description="'auto': the promoted model, else the shipped one; 'none': no second stage; or a folder",
    )
    backend: Literal["auto", "exported", "sentence-transformers", "flag-embedding", "bge-m3"] = "auto"
    runtime: Literal["auto", "openvino", "onnxruntime"] = Field("auto", description="of an exported folder")
    precision: Literal["auto", "fp32", "bf16", "int8"] = Field("auto", description="of an exported folder")
    threads: int = Field(0, ge=0, description="of an exported folder; 0: all cores")
    candidates: int = Field(30, ge=1, le=1000, description="windows scored per query")
    fused_weight: float | None = Field(
        None,
        ge=0,
        le=100,
        description="how much the fused score counts beside the model's, both standardised over the "
        "candidates; None: 0.7 for a late-interaction model, 0 for a cross-encoder",
    )
    max_tokens: int = Field(512, ge=16, le=8192)
    batch_size: int = Field(16, ge=1)
    min_coverage: float = Field(
        0.5, ge=0, le=1, description="share of letters in scripts the model knows; below it keeps its place"
    )
    timeout_s: float = Field(5.0, gt=0, description="after this the fused order is returned, marked degraded")
    watch_s: float = Field(
        1.0, ge=0, description="how often the service looks for a promoted model; 0: at its start only"
    )
    cascade: CascadeSettings = CascadeSettings()


class GenerationSettings(Section):
    """The language model that writes answers; off when no address is named."""

    url: str | None = Field(None, description="an OpenAI-compatible server; replicas by comma")
    model: str | None = Field(None, description="None: the first one the server lists")
    tokenizer: str | None = Field(
        None, description="the model's tokenizer.json; None: the server is asked to count"
    )
    api_key: SecretStr | None = None
    salt_secret: SecretStr | None = Field(
        None, description="key of the per-tenant cache salts; None: one is made and kept in the home folder"
    )
    cache_salt: bool = Field(
        True, description="send vLLM's cache_salt; false for a server that refuses unknown fields"
    )
    connect_timeout_s: float = Field(2.0, gt=0)
    first_token_timeout_s: float = Field(20.0, gt=0)
    timeout_s: float = Field(60.0, gt=0, description="a whole answer")
    max_tokens: int = Field(512, ge=1)
    temperature: float = Field(0.0, ge=0, le=2)
    passages: Literal["sections", "windows"] = Field(
        "sections",
        description="what a prompt shows of a document: fixed sections, which a prefix cache serves, or "
        "the windows that were found",
    )
    context_tokens: int = Field(3000, ge=64, description="tokens of passages in a prompt")
    concurrency: int = Field(16, ge=1, description="answers written at once; beyond: 429")
    fallback: Literal["extractive", "none"] = Field(
        "extractive", description="when the model does not answer: the passages' own sentences, or an error"
    )
    min_confidence: float = Field(
        0.0, ge=0, le=1, description="below it the answer is 'not in the documents' and no model is asked"
    )
    min_support: float = Field(
        0.5, ge=0, le=1, description="share of a sentence's words its sources must hold, or it is flagged"
    )
    response_mode: Literal["compact", "refine", "tree_summarize"] = "compact"
    history_tokens: int = Field(
        6000, ge=0, description="of earlier turns in a prompt; beyond, the older half is left out"
    )
    conversation_days: float = Field(30.0, gt=0, description="a conversation unused for so long is deleted")
    cache_answers: int = Field(
        0, ge=0, description="whole answers kept in memory for the same question; 0: none"
    )


class ExpansionSettings(Section):
    """What the language model does to a question first; a request may override each."""

    classify: bool = Field(False, description="answer directly, retrieve, or ask back")
    rewrite: bool = Field(True, description="make a follow-up question stand alone")
    hyde: bool = Field(False, description="search for a hypothetical passage too")
    multi_query: int = Field(0, ge=0, le=5, description="paraphrases searched for too")
    decompose: bool = Field(False, description="search for the parts of a question too")
    timeout_s: float = Field(5.0, gt=0, description="per expansion; after this the plain question is used")
    branch_weight: float = Field(0.5, gt=0, le=1, description="share of an expansion's rankings")


class JwtSettings(Section):
    """Tokens of an identity provider, checked against a shared secret or a key set."""

    issuer: str = Field(min_length=1)
    audience: str = Field(min_length=1)
    secret: SecretStr | None = Field(None, min_length=32, description="HS256; 32 characters at least")
    jwks: Path | None = Field(None, description="a file with the issuer's public keys: RS256, ES256, EdDSA")
    tenants_claim: str = Field("tenants", description="claim with a tenant's name or a list of them")
    scopes_claim: str = Field("scope", description="claim with read, write, admin: words, or a list")

    @model_validator(mode="after")
    def _one_kind_of_key(self) -> JwtSettings:
        if (self.secret is None) == (self.jwks is None):
            raise ValueError("set either secret or jwks")
        return self


class ServingSettings(Section):
    """The HTTP service."""

    host: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65535)
    queue_size: int = Field(256, ge=1, description="requests waiting for the model worker")
    max_wait_s: float = Field(2.0, gt=0, description="expected wait for a search's turn at which it is 429")
    batch_size: int = Field(32, ge=1, description="texts encoded together across requests")
    deadline_s: float = Field(10.0, gt=0)
    max_upload_mb: float = Field(256.0, gt=0)
    max_json_mb: float = Field(16.0, gt=0, description="documents sent as JSON; a file may be larger")
    max_query_kb: float = Field(256.0, gt=0, description="body of a search or a query")
    upload_idle_s: float = Field(10.0, gt=0, description="longest pause of an upload")
    read_timeout_s: float = Field(
        6.0, gt=0, description="for a request's head; for its body too, beside what min_bytes_per_s adds"
    )
    write_timeout_s: float = Field(8.0, gt=0, description="a client that takes no answer for so long is cut")
    min_bytes_per_s: float = Field(1000.0, gt=0, description="what a client must send, or read, after these")
    max_connections: int = Field(1000, ge=1, description="beyond these, 503 without any work")
    allowed_hosts: tuple[str, ...] = Field(
        (), description="Host names answered besides the bound one; '*' answers every name"
    )
    shutdown_grace_s: float = Field(10.0, ge=0)
    log_format: Literal["text", "json"] = Field("text", description="of the log lines on stderr")
    tracing: bool = Field(
        False, description="send OpenTelemetry spans where the OTEL_* variables say; needs the extra otel"
    )
    query_log: Path | None = Field(None, description="file that questions are appended to; None: not kept")
    query_log_mb: float = Field(64.0, gt=0, description="size at which it is rotated; four old ones stay")
    require_keys: bool = Field(False, description="every call names its key; False: one tenant, no keys")
    allow_open: bool = Field(False, description="listen on a network address without keys all the same")
    requests_per_minute: int = Field(0, ge=0, description="of each key that has no limit of its own; 0: any")
    jwt: JwtSettings | None = Field(None, description="accept these tokens beside API keys")
    audit_log: Path | None = Field(None, description="file of writes, refusals and use of keys; None: none")
    audit_log_mb: float = Field(64.0, gt=0, description="size at which it is rotated; four old ones stay")
    qdrant_dashboard: Path | None = Field(
        None, description="folder of Qdrant's own dashboard, served at /qdrant/dashboard; None: not served"
    )


class McpSettings(Section):
    """The MCP server: a client of the running service."""

    url: str = Field("http://127.0.0.1:8000", description="the service")
    api_key: SecretStr | None = Field(
        None, description="the key it calls with over stdio; over HTTP every caller sends its own"
    )
    tenant: str | None = Field(None, description="one of the key's tenants; None: its first")
    allow_writes: bool = Field(False, description="offer tools that add and delete documents")
    timeout_s: float = Field(90.0, gt=0, description="longest wait for the service")


class CatalogSettings(Section):
    """Documents, sources and jobs."""

    url: str | None = Field(None, description="SQLAlchemy URL; default: SQLite in the home folder")


class Settings(BaseSettings):
    """All settings of one process."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix="WINNOW_",
        env_nested_delimiter="__",
    )

    home: Path = Field(Path(".winnow"), description="collection, catalogue, jobs and uploads")
    collection: CollectionSettings = CollectionSettings()
    encoders: EncoderSettings = EncoderSettings()
    indexing: IndexingSettings = IndexingSettings()
    fetch: FetchSettings = FetchSettings()
    retrieval: RetrievalSettings = RetrievalSettings()
    rerank: RerankSettings = RerankSettings()
    generation: GenerationSettings = GenerationSettings()
    expansion: ExpansionSettings = ExpansionSettings()
    serving: ServingSettings = ServingSettings()
    mcp: McpSettings = McpSettings()
    catalog: CatalogSettings = CatalogSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        toml = TomlConfigSettingsSource(settings_cls, toml_file=_config_file())
        return init_settings, env_settings, toml


_PROCESS_VARIABLES = frozenset({"WINNOW_CONFIG", "WINNOW_TEST_BROWSER", "WINNOW_TEST_VLLM_URL"})


def _config_file() -> Path | None:
    """The TOML file to read: a named one must exist, the default one may."""
    named = os.environ.get("WINNOW_CONFIG")
    if named is not None:
        path = Path(named)
        if not path.is_file():
            raise SettingsError(f"WINNOW_CONFIG names {named!r}, which is not a file")
        return path
    default = Path("winnow.toml")
    return default if default.is_file() else None


def _refuse_unknown_environment() -> None:
    """Raise when a WINNOW_ variable names no setting: a typo must not pass."""
    known = {"WINNOW_" + name.upper() for name in Settings.model_fields}
    for variable in os.environ:
        if not variable.startswith("WINNOW_") or variable in _PROCESS_VARIABLES:
            continue
        head = variable.split("__", 1)[0]
        if head not in known:
            raise SettingsError(
                f"environment variable {variable} names no setting; known: {', '.join(sorted(known))}"
            )


def load_settings(**overrides: Any) -> Settings:
    """Build the settings of this process; ``overrides`` win over everything.

    Raises:
        SettingsError: an unknown key, a value out of range, a named TOML file
            that is missing or malformed.
    """
    _refuse_unknown_environment()
    try:
        settings = Settings(**overrides)
    except ValidationError as error:
        lines = [
            f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}"
            for item in error.errors(include_url=False, include_input=False)
        ]
        raise SettingsError("settings are not valid: " + "; ".join(lines)) from error
    except ValueError as error:
        raise SettingsError(f"the settings file is not valid TOML: {error}") from error
    return settings.model_copy(update={"home": settings.home.expanduser().absolute()})
