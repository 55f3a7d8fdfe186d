"""Names of EfficientNet's variables in the files of other programs, one module per program.

`NAME_MAP` collects them for `tpu_utils.weights`; importing `efficientnet` registers it.
"""
from efficientnet.checkpoint_names import keras_applications, official, torch_dialects
from tpu_utils.weights import hugging_face
from tpu_utils.weights.name_map import NameMap, Source


def _classifier_names(model):
  official_name = f'{model.name}/head/dense/'
  return (official_name, *keras_applications.CLASSIFIERS, *torch_dialects.CLASSIFIERS)


NAME_MAP = NameMap(
  sources={
    'tf1': Source(official.rules),
    'keras': Source(
      keras_applications.rules,
      buffers=keras_applications.BUFFERS,
      normalization=keras_applications.normalization,
      notice=keras_applications.notice,
      network=keras_applications.NETWORK,
    ),
    'torch': Source(
      torch_dialects.rules,
      check=torch_dialects.check,
      normalization=hugging_face.normalization,
      network=torch_dialects.NETWORK,
    ),
  },
  classifier=official.CLASSIFIER,
  classifier_names=_classifier_names,
  torch_state_dict=torch_dialects.torch_state_dict,
  tf1_names=official.official_names,
)
