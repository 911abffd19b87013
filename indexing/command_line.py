"""How every command line of Winnow ends: one line for an error, and an exit code.

0: done; 1: something failed; 2: wrong arguments or settings; 130: interrupted.
"""

from __future__ import annotations

from collections.abc import Callable

import typer

from indexing.errors import InputError, SettingsError, WinnowError


def exit_code_of(run: Callable[[], object]) -> int:
    """Return the exit code of a parsed command, its errors told on stderr.

    Args:
        run: calls a typer app with ``standalone_mode=False``; an integer it
            returns is the code.
    """
    try:
        result = run()
    except WinnowError as error:
        return fail(str(error), 2 if isinstance(error, SettingsError | InputError) else 1)
    except typer.Exit as leave:
        return leave.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return fail("interrupted; run it again to go on", 130)
    except BrokenPipeError:
        return 1
    except Exception as error:
        if hasattr(error, "exit_code") and hasattr(error, "show"):  # a usage error of the parser
            error.show()
            return int(error.exit_code)
        raise
    return result if isinstance(result, int) else 0


def fail(message: str, code: int) -> int:
    """Tell an error on stderr and return its code."""
    from indexing.display import complain

    complain(f"error: {message}")
    return code
