"""Which variables the official AdamW leaves without weight decay."""
from oscar import checkpoint_names as names

# Parts of official names; microsoft/Oscar has this list in each of its scripts.
_NO_DECAY = ('bias', 'LayerNorm.weight')


def undecayed(model):
  """The trainable variables without weight decay: for `build_optimizer('adamw', skip=...)`.

  The rule goes by the official name. So the layer norm inside the NLVR2 classifier, which is named
  `classifier.2.weight` there, does decay.
  """
  return [
    variable
    for variable in model.trainable_variables
    if any(part in names.torch_name(variable.path) for part in _NO_DECAY)
  ]
