# InfiMed on NVIDIA GPUs: training and answering with torch's CUDA wheels, which bring CUDA with them.
#   docker build -f docker/cuda.Dockerfile -t infimed:cuda .
#   docker run --rm --gpus all --shm-size 8g -v "$PWD:/infimed" infimed:cuda torchrun --nproc-per-node 8 -m infimed_core run.yaml
FROM python:3.12-slim

ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 HF_HOME=/infimed/.cache/huggingface
COPY . /source
RUN pip install -c /source/constraints.txt "/source[demo,dicom,lora,privacy,gpu]" \
    && rm -rf /source
RUN useradd --create-home --uid 1000 infimed && mkdir -p /infimed && chown infimed /infimed
USER infimed
WORKDIR /infimed
# SIGTERM reaches the run itself: it saves its state, says so in the record and ends with 143.
STOPSIGNAL SIGTERM
CMD ["infimed", "--help"]
