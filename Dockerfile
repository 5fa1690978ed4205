# The service in a container; all its state lies in /var/lib/third-thursday.
ARG PYTHON_IMAGE=python:3.13.5-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
WORKDIR /build
RUN python3 -m venv /opt/third-thursday && python3 -m venv /tools
COPY requirements.lock requirements-build.lock ./
RUN /opt/third-thursday/bin/pip install --no-cache-dir --require-hashes -r requirements.lock \
    && /tools/bin/pip install --no-cache-dir --require-hashes -r requirements-build.lock
COPY pyproject.toml README.md LICENSE ./
COPY config config
COPY locales locales
COPY templates templates
COPY scheduler scheduler
RUN /tools/bin/python -m hatchling build --target wheel \
    && /opt/third-thursday/bin/pip install --no-cache-dir --no-deps --no-index dist/*.whl

FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="Third Thursday" org.opencontainers.image.version="1.0.0"
RUN useradd --uid 10001 --home-dir /var/lib/third-thursday --shell /usr/sbin/nologin third-thursday \
    && install --directory --mode 700 --owner 10001 --group 10001 /var/lib/third-thursday
COPY --from=build /opt/third-thursday /opt/third-thursday
# An empty PYTHONTZPATH: the tzdata package alone is the zone data.
ENV PATH=/opt/third-thursday/bin:$PATH \
    PYTHONTZPATH="" \
    PYTHONUNBUFFERED=1 \
    THIRD_THURSDAY_WEB__HOST=0.0.0.0 \
    THIRD_THURSDAY_WEB__PORT=8000
USER third-thursday
WORKDIR /var/lib/third-thursday
VOLUME /var/lib/third-thursday
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s \
    CMD ["python3", "-c", "import os, urllib.request; urllib.request.urlopen(f'http://127.0.0.1:{os.environ[\"THIRD_THURSDAY_WEB__PORT\"]}/healthz', timeout=4)"]
CMD ["third-thursday", "serve"]
