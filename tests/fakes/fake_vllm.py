"""A stand-in for an environment with vLLM: its interpreter is a script that listens as vLLM does.

``FAKE_VLLM`` decides what it does: "" serves after a moment, "fail" prints an
error and ends, "short" says as vLLM 0.32 does that the model takes 8,192
tokens, "deaf" never listens, "stubborn" ignores SIGTERM, "child"
leaves a child process behind when it ends.
"""

from __future__ import annotations

import sys
from pathlib import Path

_SCRIPT = """#!{python}
import http.server, json, os, pathlib, signal, subprocess, sys, time

mode = os.environ.get("FAKE_VLLM", "")
given = sys.argv[1:]
assert given[:3] == ["-P", "-m", "vllm.entrypoints.openai.api_server"], given
option = lambda name: given[given.index(name) + 1]
print("starting", json.dumps(given), flush=True)
print("cache", os.environ.get("VLLM_CPU_KVCACHE_SPACE"), flush=True)
if mode == "fail":
    print("RuntimeError: out of memory", flush=True)
    sys.exit(3)
if mode == "short":
    print("  Value error, User-specified max_model_len (12288) is greater than the derived max_model_len "
          "(max_position_embeddings=8192.0 or model_max_length=None in model's config.json).", flush=True)
    sys.exit(1)
if mode == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if mode == "child":
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    pathlib.Path(os.environ["FAKE_VLLM_CHILD"]).write_text(str(child.pid))
if mode == "deaf":
    time.sleep(60)

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/die":
            os._exit(7)
        self.send_response(200)
        self.end_headers()
    def log_message(self, *rest):
        pass

time.sleep(0.2)
http.server.ThreadingHTTPServer((option("--host"), int(option("--port"))), Handler).serve_forever()
"""


def make_environment(folder: Path) -> Path:
    """Return the folder, with a ``bin/python`` that plays vLLM."""
    program = folder / "bin" / "python"
    program.parent.mkdir(parents=True)
    program.write_text(_SCRIPT.replace("{python}", sys.executable), encoding="utf-8")
    program.chmod(0o755)
    return folder


def alive(pid: int) -> bool:
    """Return whether the process runs; one that ended and was not waited for does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"
