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

from indexing.command_line import exit_code_of, fail

# In the order a first run goes through them.
COMMANDS = {
    "queries": "Write queries: from a file, the service's log, or an LLM that reads the passages.",
    "mine": "Collect the candidates of each query from the live index.",
    "label": "Ask the teacher for scores; goes on where it stopped.",
    "train": "Train a student on the labels.",
    "fusion": "Choose the weight of the dense side on the labels.",
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
        return fail(f"no command {name!r}; there are: {', '.join(COMMANDS)}", 2)
    logging.basicConfig(stream=sys.stderr, format="%(levelname)s %(message)s", level=logging.INFO)
    # httpx says one line a request, thousands of them between what is worth reading.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    return exit_code_of(lambda: _run(name, rest))


def _run(name: str, arguments: Sequence[str]) -> object:
    app: typer.Typer = importlib.import_module(f"distill.commands.{name}").app
    return app(list(arguments), prog_name=f"python -m distill {name}", standalone_mode=False)
