"""Pickled weights to safetensors, without running what a pickle may carry.

::

    python -m indexing.encoders.convert SOURCE_FOLDER OUT_FOLDER

For folders in the original layout (``pytorch_model.bin``; BGE-M3's
``sparse_linear.pt`` and ``colbert_linear.pt``).  torch reads them with
``weights_only=True``, which builds tensors and nothing else; a file that asks
for more is refused.  Other pickles in the folder (optimiser state, training
arguments) are left behind.  Needs the ``train`` extra.
"""

from __future__ import annotations

import argparse
import json
import logging
import pickle
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from indexing.encoders.manifest import PICKLES
from indexing.errors import EncoderError, MissingDependencyError, WinnowError

logger = logging.getLogger(__name__)

_INDEX = "pytorch_model.bin.index.json"
_HEADS = frozenset({"sparse_linear.pt", "colbert_linear.pt"})


def convert(source: Path, out: Path) -> list[str]:
    """Write ``out`` as a copy of ``source`` with safetensors weights; return the files converted.

    Raises:
        EncoderError: no folder, ``out`` not empty, or a weight file that
            holds anything but a flat dictionary of tensors.
    """
    if not source.is_dir():
        raise EncoderError(f"{source} is not a folder")
    if out.exists() and any(out.iterdir()):
        raise EncoderError(f"{out} is not empty; name a new folder")
    out.parent.mkdir(parents=True, exist_ok=True)
    converted = []
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".convert-") as scratch:
        folder = Path(scratch) / "model"
        folder.mkdir()
        for path in sorted(source.rglob("*")):
            relative = path.relative_to(source)
            if path.is_dir() or any(part.startswith(".") for part in relative.parts):
                continue
            target = folder / relative
            target.parent.mkdir(parents=True, exist_ok=True)
            if path.name == _INDEX:
                _convert_index(path, target.with_name("model.safetensors.index.json"))
            elif path.suffix.lower() not in PICKLES:
                shutil.copyfile(path, target)
            elif _is_wanted(path):
                _convert_file(path, target.with_name(_safe_name(path.name)))
                converted.append(str(relative))
            else:
                logger.info("left behind: %s", relative)
        if out.exists():
            out.rmdir()
        folder.rename(out)
    return converted


def _is_wanted(path: Path) -> bool:
    if path.name in _HEADS:
        return True
    if not (path.name.startswith("pytorch_model") and path.suffix == ".bin"):
        return False
    return not any(path.parent.glob("model*.safetensors"))


def _safe_name(name: str) -> str:
    return Path(name.replace("pytorch_model", "model")).with_suffix(".safetensors").name


def _convert_file(path: Path, target: Path) -> None:
    try:
        import torch
        from safetensors.torch import save_file
    except ImportError as error:
        raise MissingDependencyError("torch", "train", "converting pickled weights") from error
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise EncoderError(f"{path} holds more than tensors and was not opened: {error}") from error
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise EncoderError(f"{path} is not a dictionary of tensors")
    # Tied weights share memory, which safetensors does not store: each gets its own copy.
    save_file({name: value.clone().contiguous() for name, value in state.items()}, target, {"format": "pt"})


def _convert_index(path: Path, target: Path) -> None:
    index = json.loads(path.read_text(encoding="utf-8"))
    index["weight_map"] = {name: _safe_name(file) for name, file in index["weight_map"].items()}
    target.write_text(json.dumps(index, indent=2), encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m indexing.encoders.convert",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", type=Path, help="a model folder with pickled weights")
    parser.add_argument("out", type=Path, help="folder to write; must not exist or be empty")
    args = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        converted = convert(args.source, args.out)
    except WinnowError as error:
        logger.error("%s", error)
        return 1
    sys.stdout.write(f"{args.out}: converted {', '.join(converted) or 'nothing, all safetensors already'}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
