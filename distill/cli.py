"""The command line of the room: ``python -m distill COMMAND``.

A subcommand's module is imported when it is called: torch takes seconds, and
``--help`` must not.  Exit code 0: done; 1: something failed; 2: wrong
arguments or settings.
"""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Sequence

import typer
from rich.console import Console

from indexing.errors import InputError, SettingsError, WinnowError

# In the order a first run goes through them.
COMMANDS = {
    "queries": "Write queries: from a file, the service's log, or an LLM that reads the passages.",
    "mine": "Collect the candidates of each query from the live index.",
    "label": "Ask the teacher for scores; goes on where it stopped.",
    "train": "Train a student on the labels.",
    "embed": "Fine-tune the dense encoder.",
    "export": "Make a trained model run without torch.",
    "models": "List the models, promote one, roll back.",
}

HELP = "Teach a reranker from an LLM.\n\nCommands:\n" + "\n".join(
    f"  {name:<8} {text}" for name, text in COMMANDS.items()
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given[0] in ("--help", "-h"):
        typer.echo(f"Usage: python -m distill COMMAND [OPTIONS]\n\n{HELP}")
        return 0 if given else 2
    name, *rest = given
    if name not in COMMANDS:
        return _fail(f"no command {name!r}; there are: {', '.join(COMMANDS)}", 2)
    logging.basicConfig(stream=sys.stderr, format="%(levelname)s %(message)s", level=logging.INFO)
    return _run(name, rest)


def _run(name: str, arguments: Sequence[str]) -> int:
    try:
        app: typer.Typer = importlib.import_module(f"distill.commands.{name}").app
        result = app(list(arguments), prog_name=f"python -m distill {name}", standalone_mode=False)
    except WinnowError as error:
        return _fail(str(error), 2 if isinstance(error, SettingsError | InputError) else 1)
    except typer.Exit as leave:
        return leave.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return _fail("interrupted; run it again to go on", 130)
    except BrokenPipeError:
        return 1
    except Exception as error:
        if hasattr(error, "exit_code") and hasattr(error, "show"):  # a usage error of the parser
            error.show()
            return int(error.exit_code)
        raise
    return result if isinstance(result, int) else 0


def _fail(message: str, code: int) -> int:
    Console(stderr=True, markup=False, highlight=False, soft_wrap=True).print(f"error: {message}")
    return code
