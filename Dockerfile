# Perimeter and the plugins of this repository. It needs only LLM_BASE_URL, LLM_TYPE and LLM_API_KEY:
#
#   docker build -t perimeter .
#   docker run -p 127.0.0.1:4000:4000 -e LLM_BASE_URL -e LLM_TYPE -e LLM_API_KEY perimeter
#
# No Docker engine has run this file yet. tests/packaging/test_docker.py checks it against the
# command line, and runs its pip step, CMD and health check in a fresh virtual environment.

FROM python:3.12-slim AS build
WORKDIR /src
COPY . .
RUN python -m venv /opt/perimeter \
 && /opt/perimeter/bin/pip install --no-cache-dir -c tests/constraints.txt . plugins/*

FROM python:3.12-slim
RUN useradd --uid 10001 --home-dir /data --create-home --shell /usr/sbin/nologin perimeter
COPY --from=build /opt/perimeter /opt/perimeter
ENV PATH=/opt/perimeter/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PERIMETER_HOST=0.0.0.0 \
    PERIMETER_PORT=4000 \
    PERIMETER_DATA_DIR=/data
USER perimeter
# A perimeter.toml mounted here is read.
WORKDIR /data
VOLUME /data
# 4000: the proxy. 7100: the dashboard, where the plugin for it is enabled.
EXPOSE 4000 7100
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s \
    CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen(f'http://127.0.0.1:{os.environ[\"PERIMETER_PORT\"]}/health', timeout=2)"]
STOPSIGNAL SIGTERM
CMD ["perimeter", "run"]
