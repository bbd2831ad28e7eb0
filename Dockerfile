# docker build -t rift . && docker run --rm -v "$PWD/out:/out" -e BENCHMARK_RESULTS=/out/results \
#     -e BENCHMARK_ARTIFACTS=/out/artifacts rift table1 --scale demo
FROM python:3.11-slim
RUN apt-get update && apt-get install -y --no-install-recommends git && rm -rf /var/lib/apt/lists/*
WORKDIR /rift
COPY constraints.txt ./
RUN pip install --no-cache-dir -c constraints.txt torch torchvision --extra-index-url https://download.pytorch.org/whl/cpu
COPY . .
RUN pip install --no-cache-dir -c constraints.txt -e .
ENTRYPOINT ["python", "-m", "benchmark"]
CMD ["--help"]
