"""Names of OSCAR's variables in torch and in Google's BERT checkpoints."""

# Parts of torch names that hold an underscore themselves.
_COMPOUND = (
  'word_embeddings',
  'position_embeddings',
  'token_type_embeddings',
  'img_embedding',
  'seq_relationship',
)
_LAST = {'kernel': 'weight', 'embeddings': 'weight', 'gamma': 'weight', 'beta': 'bias'}


def torch_name(path):
  """The official state-dict name of the variable at `path` ('bert/pooler_dense/kernel')."""
  scope, last = path.rsplit('/', 1)
  name = '.'.join([*scope.split('/'), _LAST.get(last, last)]).replace('_', '.')
  for part in _COMPOUND:
    name = name.replace(part.replace('_', '.'), part)
  return name
