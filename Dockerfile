# The service as a container. It listens on all interfaces, so it refuses to start with AUTH=off: give it a configuration.
FROM python:3.13-slim AS build
WORKDIR /build
RUN python -m venv /opt/clozapine-cds
COPY requirements/runtime.lock requirements/build.lock requirements/
RUN /opt/clozapine-cds/bin/pip install --no-cache-dir --require-hashes -r requirements/runtime.lock \
 && pip install --no-cache-dir --require-hashes -r requirements/build.lock
COPY pyproject.toml README.md ./
COPY cds_hooks cds_hooks
COPY service service
RUN pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir dist . \
 && /opt/clozapine-cds/bin/pip install --no-cache-dir --no-deps dist/*.whl

FROM python:3.13-slim
RUN useradd --uid 10001 --create-home --home-dir /var/lib/clozapine-cds clozapine
COPY --from=build /opt/clozapine-cds /opt/clozapine-cds
ENV PATH="/opt/clozapine-cds/bin:$PATH" PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /var/lib/clozapine-cds
USER 10001
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=3s --start-period=20s \
  CMD ["python", "-c", "import sys, urllib.request as u; sys.exit(u.urlopen('http://127.0.0.1:8000/health/live', timeout=2).status != 200)"]
ENTRYPOINT ["clozapine-cds"]
CMD ["serve", "--host", "0.0.0.0", "--port", "8000"]
