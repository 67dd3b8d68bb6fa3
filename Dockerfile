# One image for every service of docker-compose.yml; which one it is, the command says (core/processes.py).
FROM python:3.11-slim

ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    VAR_DIR=/app/var \
    PASOKH_ENV_FILE=/dev/null

WORKDIR /app

# Packages before code: a change of code leaves this layer in the cache.
COPY requirements.txt ./
RUN pip install --require-hashes --no-deps -r requirements.txt

# docker build --build-arg RENDERER=playwright: a browser for pages that show their text with JavaScript only.
ARG RENDERER=off
COPY requirements-render.txt ./
RUN if [ "$RENDERER" = playwright ]; then \
        apt-get update && apt-get install --yes --no-install-recommends chromium && rm -rf /var/lib/apt/lists/* \
        && pip install --require-hashes --no-deps -r requirements-render.txt; \
    fi

RUN useradd --uid 10001 --create-home pasokh \
    && install -d -o pasokh -g pasokh /app/var /app/var/run /app/var/health /app/var/flower
COPY --chown=root:root . .
RUN python -m compileall -q core tenants knowledge crawl chat tasks_api

USER pasokh
EXPOSE 7001
CMD ["python", "-m", "core.web"]
