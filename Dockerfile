# The image of workers, loads and Flower: no embedded servers, and only locked, hash-checked packages. The code is on PYTHONPATH.
FROM python:3.13.18-slim-trixie

# /data is for Flower's tasks and password, /data/dumps for downloads; nothing else is written, so the root may be read-only.
ENV PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PYTHONPATH=/app \
    GRAPHINATOR_HOME=/data \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1

WORKDIR /app
COPY requirements-image.txt .
RUN pip install --require-hashes --no-deps --only-binary :all: -r requirements-image.txt

COPY pipeline pipeline
COPY workers workers
COPY ops ops

RUN useradd --uid 10001 --create-home graphinator \
    && install -d -o graphinator -g graphinator /data /data/dumps \
    && printf '#!/bin/sh\nexec python -m ops "$@"\n' > /usr/local/bin/graphinator \
    && chmod 755 /usr/local/bin/graphinator
# By number: Kubernetes cannot tell from a name that it is not root.
USER 10001:10001

# SIGTERM is Celery's warm shutdown: what is under way is finished, the rest stays in Redis.
STOPSIGNAL SIGTERM
ENTRYPOINT ["graphinator"]
CMD ["worker"]
