# Built and run without an engine in the tests: they take the steps and CMD from this file
# (tests/packaging/test_docker.py).
FROM python:3.12-slim AS build
WORKDIR /src
COPY . .
RUN python -m venv /opt/perimeter \
 && /opt/perimeter/bin/pip install --no-cache-dir -c tests/constraints.txt . plugins/*

FROM python:3.12-slim
RUN useradd --system --uid 10001 --home-dir /data --create-home perimeter
COPY --from=build /opt/perimeter /opt/perimeter
ENV PATH=/opt/perimeter/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PERIMETER_HOST=0.0.0.0 \
    PERIMETER_PORT=4000 \
    PERIMETER_DATA_DIR=/data
USER perimeter
WORKDIR /data
VOLUME /data
# 4000: the proxy. 7100: the dashboard, where the plugin for it is enabled.
EXPOSE 4000 7100
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:4000/health', timeout=2)"]
STOPSIGNAL SIGTERM
CMD ["perimeter", "run"]
