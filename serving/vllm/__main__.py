"""``python -m serving.vllm``."""

from serving.vllm.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
