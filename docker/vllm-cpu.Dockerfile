# syntax=docker/dockerfile:1
# vLLM's CPU build, installed by the same steps as `python -m serving.vllm install`.
# Built from the repository's root: docker build -f docker/vllm-cpu.Dockerfile .

FROM python:3.11.13-slim-bookworm AS build
# PyPI's torch is the CUDA build; the CPU one is of the same version.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_EXTRA_INDEX_URL=$TORCH_INDEX
WORKDIR /src
COPY constraints.txt ./
COPY indexing/__init__.py indexing/errors.py indexing/
COPY serving/__init__.py serving/
COPY serving/vllm/__init__.py serving/vllm/install.py serving/vllm/
RUN pip install -c constraints.txt packaging \
    && python -c "from pathlib import Path; from serving.vllm.install import install; install(Path('/opt/vllm'), cpu=True, say=print)"

FROM python:3.11.13-slim-bookworm
# vLLM compiles kernels when it starts, and pins its threads with numactl's library.
# Debian removes a version when the next one comes: pins would break the build.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ libnuma1 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10002 --create-home vllm
COPY --from=build /opt/vllm /opt/vllm
ENV PATH=/opt/vllm/bin:$PATH \
    HF_HUB_OFFLINE=1 \
    VLLM_NO_USAGE_STATS=1 \
    DO_NOT_TRACK=1
USER 10002:10002
WORKDIR /home/vllm
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=5s --start-period=600s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/health', timeout=4)"]
ENTRYPOINT ["python", "-m", "vllm.entrypoints.openai.api_server"]
