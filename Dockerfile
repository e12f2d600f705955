# One image for every part: web, worker, beat, migrate.
FROM python:3.12-slim

# torch first: a later line must not choose a build of its own. For NVIDIA cards build with
# --build-arg TORCH_INDEX= (empty), for the processor alone name the CPU index.
ARG TORCH_INDEX=
WORKDIR /srv
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
RUN pip install --no-cache-dir --no-deps --no-build-isolation -e . \
    && useradd --create-home --uid 10001 activedpo \
    && install -d -o activedpo /data

USER activedpo
ENV ACTIVEDPO_HOME=/data ACTIVEDPO_HOST=0.0.0.0 PYTHONUNBUFFERED=1
VOLUME /data
EXPOSE 8000
ENTRYPOINT ["activedpo"]
CMD ["serve"]
