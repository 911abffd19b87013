"""Processes that join and leave: nothing of gloo's may live on into the interpreter's end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 120.0

TWO = """
import json, sys
from pathlib import Path
import torch
from distill.training.processes import join, leave
from distill.training.settings import TrainSettings

def threads():
    names = [task.joinpath("comm").read_text().strip() for task in Path("/proc/self/task").iterdir()]
    return sorted(name for name in names if "gloo" in name)

main, rank, world = join(TrainSettings.model_validate({"schedule": {"device": "cpu", "threads": 1}}))
model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(2, 2))
model(torch.ones(1, 2)).sum().backward()
model.itself = [model]  # as a trainer does
del model
before = threads()
leave()
after = threads()
Path(sys.argv[1], f"{rank}.json").write_text(json.dumps([world, before, after]))
"""


def test_no_thread_of_a_joined_process_outlives_leaving(tmp_path: Path) -> None:
    script = tmp_path / "two.py"
    script.write_text(TWO)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*command, script, tmp_path],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for rank in (0, 1):
        world, before, after = json.loads((tmp_path / f"{rank}.json").read_text())
        assert world == 2
        assert "pt_gloo_runloop" in before
        assert after == []


def test_leaving_a_run_of_one_process_does_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from distill.training.processes import leave; leave(); print('left')"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=True,
    )
    assert done.stdout == "left\n"
