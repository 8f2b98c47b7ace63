# A container cannot start engines on its host: this image is for a gateway in front of engines that it reaches over HTTP.
FROM python:3.13-slim AS build
WORKDIR /src
RUN python -m venv /opt/lmg
COPY requirements/build.txt requirements/runtime.txt requirements/
RUN /opt/lmg/bin/pip install --no-cache-dir --require-hashes -r requirements/build.txt -r requirements/runtime.txt
COPY pyproject.toml README.md LICENSE CHANGELOG.md ./
COPY local_model_gateway local_model_gateway
COPY mcp_server mcp_server
COPY openai_shim openai_shim
COPY broker broker
COPY catalog catalog
COPY coordinator coordinator
COPY runtimes runtimes
COPY recipes recipes
RUN /opt/lmg/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

FROM python:3.13-slim
# A number, so that an orchestrator can see that it is not root; 1000 can read what most people mount.
RUN useradd --uid 1000 --home-dir /var/lib/lmg --shell /usr/sbin/nologin lmg \
 && install -d -o lmg -g lmg -m 700 /var/lib/lmg \
 && install -d /etc/lmg
COPY --from=build /opt/lmg /opt/lmg
# Said here and not in CMD, so that `docker exec CONTAINER lmg doctor` reads the same configuration.
ENV PATH=/opt/lmg/bin:$PATH LMG_CONFIG=/etc/lmg/config.yaml LMG_STATE_DIR=/var/lib/lmg XDG_CACHE_HOME=/var/lib/lmg/cache PYTHONUNBUFFERED=1
USER 1000:1000
WORKDIR /var/lib/lmg
VOLUME ["/var/lib/lmg"]
EXPOSE 8787
HEALTHCHECK --interval=15s --timeout=5s --start-period=20s CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8787/health', timeout=4)"]
ENTRYPOINT ["lmg"]
CMD ["start"]
