"""Ops in a SavedModel from a stranger: those that reach files or the network are refused.

A SavedModel is a program, and TensorFlow runs any op in it. Variables are restored by ops that read
and write checkpoints; they may stand where only saving and restoring runs them.
"""
import os
import re
from collections.abc import Iterable, Iterator
from typing import Any

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from tpu_utils.reading import reading

_FILE = 'saved_model.pb'
# TensorFlow reads this file instead if it is there: the same in parts.
_IN_PARTS = 'saved_model.cpb'
# `Print` writes to files, too, and debugging ops send tensors to addresses.
_FORBIDDEN = re.compile(
  r'(Read|Write|Matching)Files?$|Reader|Dataset|RecordInput|Sql|LMDB|Summary|^Print|^Dump|^Debug'
  r'|PyFunc|Rpc|RemoteCall|^_?(Host)?(Send|Recv)$|ImmutableConst|LoadAndRemap|VocabRemapping'
  r'|FromTextFile|FileSystem|Saver$|DistributedSave|DTensorRestore|^WorkerHeartbeat'
)
# Datasets of tensors, with which our exports decode files. Functions that they call are checked.
_HARMLESS = re.compile(
  r'^(Tensor|TensorSlice|Range|Zip|Map|ParallelMap|IgnoreErrors|Batch|Concatenate|Take)'
  r'Dataset(V\d)?$|^DatasetToSingleElement$'
)
_CHECKPOINTS = re.compile(r'^(Save|Restore)(V2|Slices?)?$|^MergeV2Checkpoints$')
_WRITES = re.compile(r'^Save|^Merge')


def check(path: str) -> None:
  """Checks the ops of a SavedModel before TensorFlow loads it.

  Args:
    path: its folder.

  Raises:
    ValueError: an op can read or write files or use the network, or the file is damaged.
  """
  file_name = os.path.join(path, _FILE)
  if tf.io.gfile.exists(os.path.join(path, _IN_PARTS)):
    raise ValueError(f'{path} has a {_IN_PARTS}, whose ops cannot be checked; export it in one.')
  with reading(file_name, 'a SavedModel', foreign=True), tf.io.gfile.GFile(file_name, 'rb') as file:
    saved_model = saved_model_pb2.SavedModel.FromString(file.read())
  for meta_graph in saved_model.meta_graphs:
    names = sorted(set(_dangerous_ops(meta_graph)))
    if names:
      raise ValueError(
        f'{path} has ops that can read or write files or use the network ({", ".join(names[:8])}), '
        'which no classifier of images needs; it was not loaded. Export it without them.'
      )


def _dangerous_ops(meta_graph: Any) -> Iterator[str]:
  functions = {f.signature.name: f.node_def for f in meta_graph.graph_def.library.function}
  graph = {node.name: node for node in meta_graph.graph_def.node}
  for nodes in (graph.values(), *functions.values()):
    ops = (node.op for node in nodes)
    yield from (op for op in ops if _FORBIDDEN.search(op) and not _HARMLESS.search(op))
  # What signatures, initializers and restored objects run.
  outputs = [name for s in meta_graph.signature_def.values() for name in _names(s)]
  for collection in ('saved_model_main_op', 'legacy_init_op'):
    outputs += meta_graph.collection_def[collection].node_list.value
  called = list(meta_graph.object_graph_def.concrete_functions)
  for node in _reachable(graph, functions, outputs, called):
    if _CHECKPOINTS.search(node.op):
      yield node.op
  # What restores the variables of TensorFlow 1.
  for node in _reachable(graph, functions, [meta_graph.saver_def.restore_op_name], []):
    if _WRITES.search(node.op):
      yield node.op


def _names(signature: Any) -> Iterator[str]:
  """Yields the names of the tensors in a signature's outputs."""
  for info in signature.outputs.values():
    sparse = info.coo_sparse
    yield from (info.name, *(part.name for part in info.composite_tensor.components))
    yield from (sparse.values_tensor_name, sparse.indices_tensor_name)
    yield sparse.dense_shape_tensor_name


def _reachable(
  graph: dict[str, Any], functions: dict[str, Any], outputs: Iterable[str], called: list[str]
) -> Iterator[Any]:
  """Yields the nodes that run for some outputs of the graph and for some functions."""
  nodes, calls = list(outputs), list(called)
  seen: set[str] = set()
  entered: set[str] = set()
  while nodes or calls:
    if nodes:
      name = nodes.pop().lstrip('^').partition(':')[0]
      found = [graph[name]] if name in graph and name not in seen else []
      seen.add(name)
      nodes += [text for node in found for text in node.input]
    else:
      function = calls.pop()
      found = list(functions.get(function, ())) if function not in entered else []
      entered.add(function)
    for node in found:
      yield node
      calls += [node.op, *(f.name for attr in node.attr.values() for f in _functions(attr))]


def _functions(attr: Any) -> list[Any]:
  return [attr.func, *attr.list.func]
