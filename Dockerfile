# crossviz in a container: the app on port 7860, the embedded model inside, nothing fetched when it starts.
#
#   docker build -t crossviz . && docker run --rm -p 7860:7860 crossviz
#
# TORCH_INDEX_URL is the package index that torch and torchvision come from: PyTorch's CPU index by default. For CUDA give
# its index for that version (https://download.pytorch.org/whl/cu130), or nothing (TORCH_INDEX_URL=) for pip's default,
# whose build for x86-64 carries CUDA, and start the image with `docker run --gpus all ...`.
ARG BASE=python:3.11-slim
# hadolint ignore=DL3006  -- the tag is in BASE
FROM ${BASE}
ARG TORCH_INDEX_URL="https://download.pytorch.org/whl/cpu"

ENV PYTHONUNBUFFERED=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1

WORKDIR /srv/crossviz

# The packages first: they change seldom, so this layer is kept when the code changes. By the hashes in locks/; from an
# index that is named, torch and torchvision come by their versions (docs/supply-chain.md).
COPY requirements.txt ./
COPY locks ./locks
RUN pip install --no-deps --require-hashes -r locks/app.txt \
    && if [ -n "${TORCH_INDEX_URL}" ]; then \
        grep -E '^(torch|torchvision)==' requirements.txt > torch.txt \
        && pip install --index-url "${TORCH_INDEX_URL}" -r torch.txt \
        && rm torch.txt; \
    else pip install --no-deps --require-hashes -r locks/torch.txt; fi

COPY LICENSE NOTICE app.py ./
COPY assets ./assets
COPY crossviz ./crossviz

RUN useradd --create-home --uid 1000 crossviz
USER 1000
ENV GRADIO_SERVER_NAME=0.0.0.0 \
    GRADIO_SERVER_PORT=7860 \
    GRADIO_ANALYTICS_ENABLED=False
EXPOSE 7860
# A real explanation of a tiny photo (docs/deploy.md); it takes 20 seconds at most. If CROSSVIZ_HEALTH_SECONDS allows more, allow it here, too.
HEALTHCHECK --interval=30s --timeout=25s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import http.client, os, sys; c = http.client.HTTPConnection('127.0.0.1', int(os.environ.get('GRADIO_SERVER_PORT') or 7860), timeout=24); c.request('GET', '/health'); sys.exit(c.getresponse().status != 200)"]
CMD ["python", "app.py"]
