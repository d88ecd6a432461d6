# The image of what make dist has built: docker build -t turbine .
# It has the static binary and nothing else. The signal to stop is SIGTERM, and the drain
# takes 8 seconds by default, less than the 10 that docker stop waits.
FROM scratch
ARG TARGETARCH
COPY dist/stage/linux_${TARGETARCH}/turbine /turbine
# For the health check below, which is the program itself and reads the same variables.
ENV TURBINE_HEALTH_PATH=/healthz
EXPOSE 3000
USER 65532:65532
HEALTHCHECK --interval=10s --timeout=6s --start-period=5s CMD ["/turbine", "health"]
ENTRYPOINT ["/turbine"]
