# fast-nst web on a processor: docker build -t fast-nst . && docker run --rm -p 127.0.0.1:8000:8000 fast-nst
# The address that it prints has the token that the page needs.

FROM python:3.13-slim AS build
WORKDIR /src
# PyTorch without CUDA, in a layer of its own: it changes less often than the rest.
RUN python -m venv /opt/fast-nst \
    && /opt/fast-nst/bin/pip install --no-cache-dir --index-url https://download.pytorch.org/whl/cpu 'torch>=2.10'
COPY pyproject.toml README.md LICENSE ./
COPY fast_nst fast_nst
COPY checkpoints checkpoints
RUN /opt/fast-nst/bin/pip install --no-cache-dir '.[web,onnx,openvino]' opencv-python-headless \
    && /opt/fast-nst/bin/pip uninstall --yes opencv-python \
    && /opt/fast-nst/bin/pip install --no-cache-dir --force-reinstall --no-deps opencv-python-headless
# The page with its own engine, so that the server needs no network.
RUN /opt/fast-nst/bin/fast-nst export-page /opt/fast-nst/page

FROM python:3.13-slim
RUN useradd --create-home --uid 1000 fast-nst
COPY --from=build /opt/fast-nst /opt/fast-nst
USER fast-nst
WORKDIR /home/fast-nst
ENV PATH=/opt/fast-nst/bin:$PATH PYTHONUNBUFFERED=1
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/api/health', timeout=4)"]
CMD ["fast-nst", "web", "--host", "0.0.0.0", "--port", "8000", "--page", "/opt/fast-nst/page"]
