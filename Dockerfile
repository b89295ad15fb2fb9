# The demo on a CPU:
#
#   docker build --tag snmn .
#   docker run --rm --publish 8000:8000 snmn
#
# TORCH is what pip is asked for first. By default it is the build that pip finds by itself, which for
# some platforms brings gigabytes for GPUs along; for the small one, give PyTorch's index of CPU builds:
#
#   docker build --build-arg TORCH="torch torchvision --index-url ADDRESS" --tag snmn .
FROM python:3.11-slim

ARG TORCH="torch torchvision"
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1
WORKDIR /app

# PyTorch alone from its index, which has few other packages and few versions of them.
COPY requirements.txt constraints.txt ./
RUN pip install --no-deps --constraint constraints.txt ${TORCH} \
    && pip install --constraint constraints.txt --requirement requirements.txt

COPY snmn snmn
COPY clevr_prep clevr_prep
COPY server server

RUN useradd --system demo
USER demo

EXPOSE 8000
HEALTHCHECK --start-period=30s --interval=30s --timeout=5s CMD ["python", "-c", \
    "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
CMD ["uvicorn", "server.main:app", "--host", "0.0.0.0", "--port", "8000"]
