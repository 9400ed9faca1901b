# The image of workers; with REQUIREMENTS=requirements-flower.txt that of Flower. The code is on PYTHONPATH; only locked,
# hash-checked packages are installed, and no embedded servers.
FROM python:3.13-slim

ENV PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PYTHONPATH=/app \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1

WORKDIR /app
ARG REQUIREMENTS=requirements.txt
COPY ${REQUIREMENTS} .
RUN pip install --require-hashes --no-deps --only-binary :all: -r ${REQUIREMENTS}

COPY pipeline pipeline
COPY workers workers
COPY ops ops

RUN useradd --uid 10001 --create-home graphinator \
    && install -d -o graphinator /data
USER graphinator

# SIGTERM is Celery's warm shutdown: what is under way is finished, the rest stays in Redis.
STOPSIGNAL SIGTERM
CMD ["python", "-m", "ops", "worker"]
