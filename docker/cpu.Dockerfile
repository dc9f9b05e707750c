# InfiMed without a GPU: reading, scoring, evaluation of servers, small trainings, tests.
#   docker build -f docker/cpu.Dockerfile -t infimed:cpu .
#   docker run --rm -v "$PWD/runs:/infimed/runs" -v "$PWD/full.yaml:/infimed/full.yaml:ro" infimed:cpu infimed-run full.yaml
FROM python:3.12-slim

ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 HF_HOME=/infimed/.cache/huggingface
COPY . /source
# Beside PyPI: PyTorch's own index has torch+cpu, which pip prefers; what torch needs comes from PyPI in the versions that are pinned.
RUN pip install -c /source/constraints.txt --extra-index-url https://download.pytorch.org/whl/cpu torch \
    && pip install -c /source/constraints.txt "/source[demo,dicom,lora,privacy]" \
    && rm -rf /source
RUN useradd --create-home --uid 1000 infimed && mkdir -p /infimed && chown infimed /infimed
USER infimed
WORKDIR /infimed
# SIGTERM reaches the run itself: it saves its state, says so in the record and ends with 143.
STOPSIGNAL SIGTERM
CMD ["infimed", "--help"]
