# syntax=docker/dockerfile:1
# One image for all three programs: `doorbook-api` (what it runs unless told otherwise), `doorbook-worker` and `doorbook`.
# dev/tests/deploy/image.rs reads this file; docs/OPERATIONS.md says how to use the image.

FROM rust:1.95.0-slim-bookworm AS build
WORKDIR /src
ENV SQLX_OFFLINE=true CARGO_INCREMENTAL=0
# Only what the three programs are made of. Of the packages dev, bench and bench/faults cargo wants to see the manifests, and nothing of them is built.
COPY Cargo.toml Cargo.lock ./
COPY .sqlx .sqlx
COPY migrations migrations
COPY openapi openapi
COPY core core
COPY mail mail
COPY api api
COPY worker worker
COPY cli cli
COPY dev/Cargo.toml dev/Cargo.toml
COPY bench/Cargo.toml bench/Cargo.toml
COPY bench/faults/Cargo.toml bench/faults/Cargo.toml
RUN mkdir dev/src bench/src bench/faults/src && touch dev/src/lib.rs bench/src/main.rs bench/faults/src/main.rs
# The caches hold what earlier builds have downloaded and compiled; what goes on is copied out of them.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/src/target,sharing=locked \
    cargo build --release --locked -p doorbook-api -p doorbook-worker -p doorbook-cli \
    && mkdir /out \
    && cp target/release/doorbook-api target/release/doorbook-worker target/release/doorbook /out/

FROM debian:12.15-slim
LABEL org.opencontainers.image.title="Doorbook" \
      org.opencontainers.image.licenses="Apache-2.0 OR MIT"
# Whom to trust: the mail server's certificate, and those of Postgres and Redis when they are reached over TLS.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/ /usr/local/bin/
COPY LICENSE-APACHE LICENSE-MIT /usr/share/doc/doorbook/
# No account of the image and none of a usual host. Numbers, so that an orchestrator sees that it is not root.
USER 10001:10001
WORKDIR /
EXPOSE 8000
STOPSIGNAL SIGTERM
# For the api. A container of the worker asks http://127.0.0.1:9001/health/live instead.
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s --retries=3 \
    CMD ["doorbook", "health", "http://127.0.0.1:8000/health/live"]
CMD ["doorbook-api"]
