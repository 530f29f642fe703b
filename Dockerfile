# Build: Rillet and what it needs in one virtual environment.
FROM python:3.11.14-slim-bookworm AS build

# Everything is installed by version and hash (docs/supply.md). Without an argument torch is the
# build for GPUs; `--build-arg TORCH_FLAGS="--index-url URL"` takes the same version from an index
# of CPU wheels, which makes the image some 4 GB smaller. Those wheels have other hashes, which
# the lock does not know: for torch alone that index is then trusted.
ARG TORCH_FLAGS=""
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_DEPS=1 PIP_ONLY_BINARY=:all:

RUN python -m venv /opt/rillet
ENV PATH=/opt/rillet/bin:$PATH

WORKDIR /src
COPY requirements.lock requirements-torch.lock ./
RUN if [ -z "$TORCH_FLAGS" ]; \
    then pip install --require-hashes -r requirements-torch.lock; \
    else pip install $TORCH_FLAGS "$(grep -o '^torch==[^ ;]*' requirements-torch.lock)"; \
    fi
RUN pip install --require-hashes -r requirements.lock

COPY pyproject.toml LICENSE ./
COPY stream stream
COPY features features
COPY models models
COPY consumers consumers
COPY rillet rillet
# The lock has the setuptools that builds it; nothing is fetched any more.
RUN pip install --no-build-isolation . && pip check

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
