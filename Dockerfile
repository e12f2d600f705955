# One image for every part: web, worker, beat, migrate.
# A digest pins what it is built on: --build-arg PYTHON_IMAGE=python:3.12-slim@sha256:...
ARG PYTHON_IMAGE=python:3.12-slim

FROM ${PYTHON_IMAGE} AS build
# torch first: a later line must not choose a build of its own. For NVIDIA cards build with
# --build-arg TORCH_INDEX= (empty), for the processor alone name the CPU index.
ARG TORCH_INDEX=
WORKDIR /srv
RUN python -m venv /srv/.venv
ENV PATH=/srv/.venv/bin:$PATH
COPY requirements.lock requirements-torch.lock ./
RUN pip install --no-cache-dir ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} \
        -r requirements-torch.lock \
    && pip install --no-cache-dir --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY activedpo activedpo
COPY app app
COPY worker worker
COPY templates templates
COPY migrations migrations
RUN pip install --no-cache-dir --no-deps --no-build-isolation -e .

FROM ${PYTHON_IMAGE}
RUN useradd --create-home --uid 10001 activedpo \
    && install -d -o activedpo /data
# Nobody who runs it can change it: the files stay root's
COPY --from=build /srv /srv
WORKDIR /srv
USER activedpo
ENV PATH=/srv/.venv/bin:$PATH ACTIVEDPO_HOME=/data ACTIVEDPO_HOST=0.0.0.0 \
    HF_HOME=/data/hub PYTHONUNBUFFERED=1
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
ENTRYPOINT ["activedpo"]
CMD ["serve"]
