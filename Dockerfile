# Two images: `gateway` (the default) and `cpu-worker`, one CPU engine. GPU workers use vllm/vllm-openai.
FROM python:3.11-slim AS base
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 UV_NO_CACHE=1 UV_SYSTEM_PYTHON=1
WORKDIR /app
COPY requirements requirements
RUN pip install -r requirements/uv.txt
RUN useradd --create-home loomgate \
    && install -d -o loomgate -g loomgate /home/loomgate/.loomgate /home/loomgate/.loomgate/models

FROM base AS cpu-worker
RUN apt-get update && apt-get install -y --no-install-recommends libgomp1 libnuma1 && rm -rf /var/lib/apt/lists/*
RUN uv pip install --no-deps --torch-backend cpu -r requirements/cpu.txt
COPY pyproject.toml README.md LICENSE ./
COPY hints hints
COPY engines engines
COPY gateway gateway
COPY loadtest loadtest
COPY loomgate loomgate
RUN uv pip install --no-deps .
USER loomgate
WORKDIR /home/loomgate
EXPOSE 8000
ENTRYPOINT ["loomgate"]
CMD ["worker", "--device=cpu", "--port=8000", "--", "--host=0.0.0.0"]

FROM base AS gateway
RUN uv pip install --no-deps -r requirements/gateway.txt
COPY pyproject.toml README.md LICENSE ./
COPY hints hints
COPY engines engines
COPY gateway gateway
COPY loadtest loadtest
COPY loomgate loomgate
RUN uv pip install --no-deps .
USER loomgate
WORKDIR /home/loomgate
EXPOSE 8080
ENTRYPOINT ["loomgate"]
CMD ["serve", "--host=0.0.0.0", "--port=8080"]
