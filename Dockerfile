# CPU:   docker build -t dpm-demo .
# CUDA:  docker build -t dpm-demo:cuda --build-arg TORCH_INDEX= \
#            --build-arg BASE=pytorch/pytorch:2.8.0-cuda12.8-cudnn9-runtime .
ARG BASE=python:3.11-slim
FROM ${BASE}

# Where torch comes from. The CPU wheels spare two gigabytes of CUDA libraries; an empty value
# takes the torch that the base image has, or else PyPI's.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu

# Further packages: "transformers>=4.45 accelerate>=0.31" for prompts, "ray==2.60.0
# prometheus_client" for workers on a cluster.
ARG EXTRA=""

ENV PIP_NO_CACHE_DIR=1 \
    PIP_BREAK_SYSTEM_PACKAGES=1 \
    PYTHONUNBUFFERED=1 \
    GRADIO_SERVER_NAME=0.0.0.0 \
    GRADIO_SERVER_PORT=7860 \
    GRADIO_ANALYTICS_ENABLED=False

WORKDIR /app
COPY requirements.txt ./
RUN if [ -n "$TORCH_INDEX" ]; then \
        grep -E '^torch(vision)?[^a-z]' requirements.txt > torch.txt \
        && python -m pip install --index-url "$TORCH_INDEX" -r torch.txt && rm torch.txt; \
    fi \
    && python -m pip install -r requirements.txt $EXTRA

# the folder of a volume has to be there, or Docker makes it root's
RUN useradd --create-home dpm \
    && mkdir -p /home/dpm/.cache/huggingface && chown -R dpm:dpm /home/dpm/.cache
COPY --chown=dpm:dpm app.py ./
COPY --chown=dpm:dpm dpm_demo ./dpm_demo
COPY --chown=dpm:dpm checkpoints ./checkpoints
USER dpm

EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=5s --start-period=90s \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen('http://127.0.0.1:' + os.environ['GRADIO_SERVER_PORT'] + '/healthz', timeout=4)"]

# arguments of `docker run` go to the app: docker run -p 7860:7860 dpm-demo --max-cost 20000
ENTRYPOINT ["python", "app.py"]
