"""Two models that answer their first question at the same moment."""

from __future__ import annotations

import subprocess
import sys

# Each thread holds the GIL longer than its switch interval (5 ms) with one multiplication, so that
# the other is given it by force at the next place that lets go of it: inside the binding's first
# use.  Without `wake_bindings` every run of this stood still.
FIRST_USE = """
import threading, time
from indexing.encoders import MODELS
from indexing.encoders.openvino_runtime import OpenVinoRuntime

model = MODELS / "all-MiniLM-L6-v2" / "model.onnx"
runtimes = [OpenVinoRuntime(model, precision="auto", threads=1) for _ in range(2)]
tensors = [runtime._request.get_tensor("input_ids") for runtime in runtimes]
large = 3**400_000
together = time.perf_counter() + 0.1

def first(tensor):
    while time.perf_counter() < together:
        pass
    large * large
    tensor.data

threads = [threading.Thread(target=first, args=(tensor,), daemon=True) for tensor in tensors]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print("both answered")
"""


def test_two_first_uses_at_once_both_return() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", FIRST_USE], capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.stdout == "both answered\n", ended.stderr
