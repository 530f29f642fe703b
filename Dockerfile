# Build: Rillet and what it needs in one virtual environment.
FROM python:3.11.14-slim-bookworm AS build

# Without an argument pip brings the CUDA build; `--build-arg TORCH_FLAGS="--index-url URL"`
# names an index of CPU wheels, which makes the image some 4 GB smaller.
ARG TORCH_FLAGS=""
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1

RUN python -m venv /opt/rillet
ENV PATH=/opt/rillet/bin:$PATH
RUN pip install $TORCH_FLAGS torch

WORKDIR /src
COPY pyproject.toml LICENSE ./
COPY stream stream
COPY features features
COPY models models
COPY consumers consumers
COPY rillet rillet
RUN pip install .

# Run: no compiler, no source, no root.
FROM python:3.11.14-slim-bookworm

RUN useradd --system --uid 10001 --home-dir /var/lib/rillet --create-home rillet
COPY --from=build /opt/rillet /opt/rillet
ENV PATH=/opt/rillet/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    OMP_NUM_THREADS=1

USER rillet
WORKDIR /var/lib/rillet
ENTRYPOINT ["rillet"]
CMD ["--help"]
