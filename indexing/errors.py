"""Every error Winnow raises, one family.

::

    WinnowError
    ├── SettingsError               a setting is unknown, out of range, or names a missing file
    ├── MissingDependencyError      an optional package is not installed
    ├── InputError                  the caller sent something we do not accept
    │   ├── FilterError             a search filter that names no field or no operator we know
    │   └── QueryError              an empty or over-long query, an impossible top_k
    ├── NotFoundError               a document, job or model that is not here
    ├── ReadError                   one file could not be turned into text
    │   ├── UnsupportedFormatError  no reader for this suffix
    │   ├── DamagedFileError        the bytes are not what the suffix says
    │   ├── EncryptedFileError      a password is needed
    │   ├── EmptyFileError          the file holds no text
    │   ├── ReadLimitError          it takes more bytes, memory or time than one file may
    │   └── ParserCrashError        the parser process died of it
    ├── FetchError                  a URL could not be fetched
    │   └── FetchRefusedError       a URL, a host or an address that is not allowed
    ├── EncoderError                a model folder or its output is not usable
    │   └── VectorError             a vector the engine must not see
    ├── CollectionError             the vector collection
    │   ├── CollectionUnavailableError  nobody answers at the engine's address
    │   │   └── ConnectionLostError     the engine went away in the middle of a request
    │   ├── WireError                   a frame that is not of the engine's protocol
    │   ├── FingerprintMismatchError    the collection was built by other encoders
    │   ├── DamagedShardError           the stored shard does not load
    │   └── MismatchError               a copy is not equal to what it was made from
    ├── CatalogError                the document catalogue
    ├── GenerationError             the language model
    │   ├── GenerationUnavailableError  no replica answers, or all are overloaded
    │   ├── GenerationTimeoutError      the first token, or the whole answer, did not come in time
    │   └── GarbledAnswerError          what came is not of the protocol
    └── CapacityError               accepted later, or not in time
        ├── QueueFullError          a bounded queue is full
        ├── IngestBusyError         another process is writing this index
        └── DeadlineError           the request's time ran out

A library's exception is translated into one of these once, at the edge where
it appears, with the original chained.  A message says what was wrong, what
would be accepted, and, where there is one, the command that helps.
"""


class WinnowError(Exception):
    """Base of every error that Winnow raises on purpose."""


class SettingsError(WinnowError):
    """A setting is unknown, out of range, or names a file that is missing."""


class MissingDependencyError(WinnowError):
    """An optional package is needed and not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package {package!r}, which is not installed; "
            f"run: pip install 'winnow-search[{extra}]'"
        )
        self.package = package
        self.extra = extra


class InputError(WinnowError):
    """The caller sent something that is not accepted."""


class FilterError(InputError):
    """A search filter names no field, or no operator, that is known."""


class QueryError(InputError):
    """A query is empty or too long, or asks for an impossible number of results."""


class NotFoundError(WinnowError):
    """A document, job or model that is not here."""


class ReadError(WinnowError):
    """One file could not be turned into text; the others go on."""


class UnsupportedFormatError(ReadError):
    """No reader is registered for this kind of file."""


class DamagedFileError(ReadError):
    """The bytes are not what the file's name says."""


class EncryptedFileError(ReadError):
    """The file is protected by a password."""


class EmptyFileError(ReadError):
    """The file was read and holds no text."""


class ReadLimitError(ReadError):
    """The file takes more bytes, memory, processor time or waiting than one file may."""


class ParserCrashError(ReadError):
    """The process that parsed the file died, or answered with something else than documents."""


class FetchError(WinnowError):
    """A URL could not be fetched, or what came cannot be read."""


class FetchRefusedError(FetchError):
    """The URL, its host, or an address it leads to is not allowed."""


class EncoderError(WinnowError):
    """A model folder, or what the model returned, is not usable."""


class VectorError(EncoderError):
    """A vector that must not reach the engine (NaN, unsorted, wrong length)."""


class CollectionError(WinnowError):
    """The vector collection refused or failed an operation."""


class CollectionUnavailableError(CollectionError):
    """Nobody answers at the collection's address."""


class ConnectionLostError(CollectionUnavailableError):
    """The engine went away before it answered; what it was asked may have happened."""


class WireError(CollectionError):
    """The other side does not speak the engine's protocol, or a frame is too large."""


class FingerprintMismatchError(CollectionError):
    """The collection was built by other encoders than the configured ones."""


class DamagedShardError(CollectionError):
    """The stored shard does not load."""


class MismatchError(CollectionError):
    """A pushed collection or a snapshot differs from what it was made from."""


class CatalogError(WinnowError):
    """The document catalogue refused or failed an operation."""


class GenerationError(WinnowError):
    """The language model did not give an answer."""


class GenerationUnavailableError(GenerationError):
    """No replica of the language model answers, or all of them are overloaded."""


class GenerationTimeoutError(GenerationError):
    """The first token, or the whole answer, did not come in time."""


class GarbledAnswerError(GenerationError):
    """What the language model's server sent is not of the protocol."""


class CapacityError(WinnowError):
    """The work was not accepted, or not finished in time; try again later."""

    def __init__(self, message: str, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class QueueFullError(CapacityError):
    """A bounded queue is full."""


class IngestBusyError(CapacityError):
    """Another process is writing this index."""


class DeadlineError(CapacityError):
    """The request's time ran out before its work was done."""


def kind_of(error: BaseException) -> str:
    """Return an error's class in words, which a program can compare.

    >>> kind_of(DamagedFileError("x")), kind_of(OSError())
    ('damaged-file', 'read')
    """
    kind = type(error) if isinstance(error, WinnowError) else ReadError
    words = kind.__name__.removesuffix("Error")
    return "".join(f"-{char.lower()}" if char.isupper() else char for char in words).lstrip("-")
