"""Try a call of a language model again while that may help."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt
from tenacity.wait import wait_base, wait_exponential_jitter

from distill.errors import TeacherError
from distill.labelling.settings import LabelSettings

T = TypeVar("T")


async def patiently(call: Callable[[], Awaitable[T]], settings: LabelSettings) -> T:
    """Return the call's result, tried again while its error says that this may help.

    Raises:
        TeacherError: not retryable, or still failing after ``settings.attempts``.
    """
    retrying = AsyncRetrying(
        retry=retry_if_exception(lambda error: isinstance(error, TeacherError) and error.retryable),
        stop=stop_after_attempt(settings.attempts),
        wait=_Wait(settings.first_wait_s, settings.longest_wait_s),
        reraise=True,
    )

    # tenacity awaits only what is declared async; a lambda's coroutine would come back unawaited.
    async def attempt() -> T:
        return await call()

    return await retrying(attempt)


class _Wait(wait_base):
    """Doubling waits with jitter; a wait that the server asked for is kept, whatever its length.

    Source: Brooker, "Exponential backoff and jitter", AWS Architecture Blog, 2015.
    """

    def __init__(self, first_s: float, longest_s: float) -> None:
        self._jittered = wait_exponential_jitter(multiplier=first_s, max=longest_s, jitter=first_s)

    def __call__(self, retry_state: RetryCallState) -> float:
        error = None if retry_state.outcome is None else retry_state.outcome.exception()
        asked = getattr(error, "retry_after_s", None)
        ours = self._jittered(retry_state)
        return ours if asked is None else max(ours, float(asked))
